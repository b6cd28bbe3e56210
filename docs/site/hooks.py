"""Hooks of the docs site: pages from outside docs/, pages made from the code, and links that fit the site."""

from __future__ import annotations

import dataclasses
import inspect
import posixpath
import re
from html import escape
from pathlib import Path
from typing import Any

import ltaug
from ltaug.fields import explained
from ltaug.machine import Machine
from ltaug.options import STAGES, DatasetOptions

ROOT = Path(__file__).parents[2]
MOVED = {"README.md": "index.md", "benchmarks/RESULTS.md": "RESULTS.md"}  # in the repository: on the site
TABLES = {"Dataset": DatasetOptions, **STAGES, "Machine": Machine}


def on_files(files: Any, config: Any) -> Any:
    """Add what does not lie in docs/."""
    from mkdocs.structure.files import File

    pages = {there: (ROOT / here).read_text(encoding="utf-8") for here, there in MOVED.items()}
    pages |= {f"recipes/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "recipes").glob("*.toml")}
    for name, content in (pages | {"options.md": options_page(), "api.md": api_page()}).items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to the page's place on the site; those to code become plain text."""
    here = {there: posixpath.dirname(path) for path, there in MOVED.items()}.get(page.file.src_uri, "docs")
    return re.sub(r"\[([^][]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)", lambda link: _link(here, *link.groups("")), markdown)


def _link(here: str, text: str, path: str, anchor: str) -> str:
    target = posixpath.normpath(posixpath.join(here, path))
    if target.startswith("ltaug/"):
        return text
    return f"[{text}]({MOVED.get(target, target.removeprefix('docs/'))}{anchor})"


def options_page() -> str:
    """Every option, with its values and defaults."""
    about = "Flags of the commands. Recipes have the same names without `--`, in the tables of their commands (`Machine`: none)."
    lines = ["# Options", "", about]
    for title, cls in TABLES.items():
        lines += ["", f"## {title}", "", "| option | values | what it does |", "|---|---|---|"]
        for f in dataclasses.fields(cls):
            limits = [f"{sign} {f.metadata[key]:g}" for key, sign in (("low", "≥"), ("high", "≤")) if f.metadata[key] is not None]
            values = ", ".join([*(f"`{name}`" for name in f.metadata["choices"]), *limits])
            lines.append(f"| `--{f.name.replace('_', '-')}` | {values} | {explained(f).replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def api_page() -> str:
    """What `import ltaug` offers, with its docstrings."""
    lines = ["# Python", "", "What `import ltaug` offers; equal to the commands.", ""]
    for name in ltaug.__all__:
        found = getattr(ltaug, name)
        signature = "" if inspect.isclass(found) else str(inspect.signature(found))
        lines += [f"## {name}", *_described(f"ltaug.{name}{signature}", found)]
        for own, member in vars(found).items() if inspect.isclass(found) else ():
            if (
                not own.startswith("_")
                and (isinstance(member, property) or inspect.isfunction(member))
                and inspect.getdoc(member)
            ):
                signature = inspect.signature(member) if inspect.isfunction(member) else ""
                lines += _described(f"{name}.{own}{signature}", member)
    return "\n".join(lines)


def _described(code: str, found: object) -> list[str]:
    """Code, and the docstring of what it names."""
    about = f'<pre style="white-space: pre-wrap">{escape(inspect.getdoc(found) or "")}</pre>'
    return ["", "```python", code, "```", "", about, ""]
