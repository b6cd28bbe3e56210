"""Numbers as people read them, the same in the page, the Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ltaug.report.decision import Comparison
from ltaug.report.statistics import Paired, Spread

if TYPE_CHECKING:
    from ltaug.report.cost import Cost

Difference = Paired | Comparison
NOTHING = "–"
JOINED = "\u00a0"  # a space at which no line breaks


def plain(value: float | None, digits: int = 3) -> str:
    """0.873, or a dash."""
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """+0.086, with a true minus sign; what rounds to zero has no sign."""
    if value is None:
        return NOTHING
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def spread_text(value: Spread | None, digits: int = 3) -> str:
    """0.873 ± 0.012."""
    if value is None:
        return NOTHING
    mean = plain(value.mean, digits)
    return mean if value.sd is None else f"{mean}{JOINED}±{JOINED}{plain(value.sd, digits)}"


def interval_text(value: Difference | None, digits: int = 3) -> str:
    """[+0.041, +0.131], or why there is none."""
    if value is None or value.mean is None:
        return "not compared"
    if value.low is None or value.high is None:
        return "no interval"
    return f"[{signed(value.low, digits)},{JOINED}{signed(value.high, digits)}]"


def paired_text(value: Difference | None, digits: int = 3) -> str:
    """+0.086 [+0.041, +0.131]."""
    if value is None or value.mean is None:
        return NOTHING
    return f"{signed(value.mean, digits)} {interval_text(value, digits)}"


def metric_name(key: str) -> str:
    """'recall/few' as 'recall, few'; 'macro_recall' as 'macro recall'."""
    return key.replace("_", " ").replace("/", ", ")


def seconds(value: float | None) -> str:
    """12.3 s, 4.1 min, 2.5 h."""
    if value is None:
        return NOTHING
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def minutes(value: float | None) -> str:
    """As `seconds`, given minutes."""
    return seconds(None if value is None else 60 * value)


def cost_text(value: Cost | None) -> str:
    """4.1 processor min, 2.5 GPU h."""
    if value is None:
        return NOTHING
    number, unit = seconds(60 * value.minutes).split()
    return f"{number}{JOINED}{value.unit}{JOINED}{unit}"


def setting(value: Any) -> str:
    """An option's value: yes and no, lists with commas, a dash for nothing."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(setting(v) for v in value) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def several(names: Sequence[object]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    words = [str(n) for n in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """'1 seed', '3 seeds'."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
