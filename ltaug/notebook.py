"""How results look in a notebook: small HTML, for `_repr_html_`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape


def html_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls where it is long."""
    cells = [[f"<{tag}>{escape(str(cell))}</{tag}>" for cell in row] for tag, row in (("th", heads), *(("td", r) for r in rows))]
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f'<div style="max-height: 24em; overflow: auto; width: max-content"><table>{lines}</table></div>'


def html_png(picture: bytes) -> str:
    """A PNG inside the page."""
    return f'<img style="max-width: 100%" src="data:image/png;base64,{b64encode(picture).decode()}">'
