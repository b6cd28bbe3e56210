"""What the benchmarks share: tables for people, the same as JSON for benchmarks/gpu.py, and what the figures were taken on."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

Row = Mapping[str, Any]


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json FILE: every table of this script goes there as well."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the tables to this file, one JSON object a line")


def machine(device: str) -> dict[str, str]:
    """Date, hardware and versions."""
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name() if on_gpu else _processor()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": name,
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(title: str, rows: Sequence[Row], *, device: str, json_file: Path | None = None) -> None:
    """Print a table, and add it to a file of JSON lines."""
    table = {"title": title, "machine": machine(device), "rows": [dict(row) for row in rows]}
    print(as_text(table), flush=True)
    if json_file is not None:
        with json_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(table) + "\n")


def as_text(table: Mapping[str, Any]) -> str:
    """A table as people read it; its columns are the keys of its rows, in order of appearance, and None is left blank."""
    rows, taken = table["rows"], table["machine"]
    said = [f"{name} {value}" if name in ("torch", "python", "threads") else value for name, value in taken.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(names, *cells, strict=True)]
    lines = [table["title"], f"({', '.join(said)})"]
    for line in [names, *cells]:
        first, *rest = (text.rjust(w) if i else text.ljust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True)))
        lines.append(f"  {first}  {'  '.join(rest)}".rstrip())
    return "\n".join([*lines, ""])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:.4g}"
        if isinstance(value, float) and value < 1000
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
