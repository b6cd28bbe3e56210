"""Inputs nobody would give: command lines, recipes and budgets, made of the options and recipes that the package has."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import click
from fuzzed_values import DEEP, WORDS, Given, changed, restructured

from ltaug import methods
from ltaug.cli import group
from ltaug.recipes import FOLDERS

NAMES = sorted({name for one in vars(methods).values() if isinstance(one, methods.Registry) for name in one})
# What keeps a command that has no --dry-run, or whose --dry-run measures, short.
SMALL = dict.fromkeys(("samples", "images"), "20") | dict.fromkeys(("sample_steps", "per_class", "steps"), "2")
SMALL |= {"strengths": "0,1", "workers": "1", "device": "cpu"}
LEFT_OUT = ("download", "compile")  # nothing is fetched, and torch.compile takes minutes


def commands(parent: click.Group = group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    for name, command in parent.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def command_line(folder: Path, made: Path, random: Random) -> Given:
    """A command with a few of its options, some by environment, most of them with a value that does not suit."""
    path, command = random.choice(list(commands()))
    arms = made / "runs/seed-0/cbdm"
    runs = {"GENERATOR": arms / "generator", "EVALUATION": arms / "evaluation", "A": arms / "evaluation"}
    runs |= {"RUN": made / "runs/seed-0", "PATH": made / "runs", "RECIPE": "digits-lt", "DATASET": "digits"}
    arguments, environment = list(path), {}
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in LEFT_OUT]
    for p in command.params:
        if isinstance(p, click.Argument):
            suited = str(runs[re.match(r"\[?([A-Z]+)", p.make_metavar(click.Context(command)))[1]])
            times = random.choice((1, 1, 2)) if p.nargs == -1 else 1
            arguments += [suited if random.random() < 0.9 else random.choice(WORDS)] * times
    chosen = random.sample(options, min(len(options), random.randint(1, 3)))
    for p in options:
        value = _value(p, random) if p in chosen else SMALL.get(p.name)
        if p in chosen and random.random() < 0.2:
            environment["_".join(("LTAUG", *path, str(p.name))).upper().replace("-", "_")] = value
        elif p.is_flag and (p in chosen or p.name == "dry_run"):
            arguments.append(random.choice([*p.opts, *p.secondary_opts]))
        elif not p.is_flag and value is not None:
            arguments += [p.opts[0], value]
    if any(p.name == "out" for p in options) and "--out" not in arguments:
        arguments += ["--out", "out"]
    return Given(arguments, {name: value for name, value in environment.items() if value.isprintable()})


def _value(option: click.Option, random: Random) -> str:
    """One that does not suit, mostly; one of the option's choices, or the name of some component."""
    if random.random() < 0.5:
        return random.choice(WORDS)
    metavar = option.metavar or ""
    return random.choice(metavar.strip("[].,").split("|") if metavar.startswith("[") else ["1", "2", "8", "0.5", *NAMES])


def recipe(folder: Path, made: Path, random: Random) -> Given:
    """A shipped recipe with changed bytes, lines or structure."""
    file = random.choice([path for where in FOLDERS for path in sorted(where.glob("*.toml"))])
    text, how = file.read_text(), random.choice(("bytes", "lines", "structure", "structure", "nesting"))
    if how == "bytes":
        content = changed(text.encode(), random)
    elif how == "lines":
        lines = text.splitlines()
        lines[random.randrange(len(lines))] = random.choice(["", random.choice(lines), "x = 1", 'seeds = "1"', "[arms]"])
        content = "\n".join(lines).encode()
    elif how == "nesting":
        content = f"{text}\n[x]\nx = {random.choice((DEEP, '{x = ' * 3000 + '1' + '}' * 3000, '9' * 5000))}".encode()
    else:
        content = _toml(restructured(tomllib.loads(text), random))
    (folder / "r.toml").write_bytes(content)
    about, often = f"{file.name}: {how}", ["--dry-run", "--device", "cpu"]
    if random.random() < 0.5 and "methods" not in file.name:  # that has more arms than can be measured in a few seconds
        return Given(["run", "r.toml", "--seeds", "1", "--workers", "1", *often], about=about)
    stage, arm = random.choice(("fit-generator", "train-classifier")), random.choice(("real", "cbdm", "x"))
    return Given([stage, "--recipe", "r.toml", "--arm", arm, "--out", "out", *often], about=about)


def _toml(document: Any) -> bytes:
    if not isinstance(document, dict):
        return repr(document).encode(errors="replace")
    return "\n".join(f"{json.dumps(key)} = {_inline(value)}" for key, value in document.items()).encode(errors="surrogatepass")


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return "1979-05-27" if value is None else str(value) if isinstance(value, float) else json.dumps(value)


def budget(folder: Path, made: Path, random: Random) -> Given:
    """A budget's CSV or JSON with changed bytes or structure, or a form with odd numbers."""
    kind = random.choice(("csv", "json", "form"))
    if kind == "form":
        text = f"{random.choice([*methods.FORMS])}:{random.choice(WORDS)}"
    else:
        text = f"b.{kind}"
        document = restructured({str(k): 2 for k in range(10)}, random)
        rows = document.items() if isinstance(document, dict) else [(document, document)]
        as_text = json.dumps(document) if kind == "json" else "".join(f"{key},{value}\n" for key, value in rows)
        data = random.choice((as_text, as_text, DEEP, "")).encode(errors="surrogatepass")
        (folder / text).write_bytes(changed(data, random) if random.random() < 0.5 else data)
    generator = made / "runs/seed-0/cbdm/generator"
    return Given(["synthesize", str(generator), "--per-class-budget", text, "--out", "out", "--dry-run", "--device", "cpu"])
