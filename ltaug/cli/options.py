"""Command-line options made from the dataclasses of ltaug.options, so that no default or help text stands twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from ltaug.errors import OptionError, nearest, told_of_resources
from ltaug.fields import check, checked, explained, field_types, read_of
from ltaug.machine import Machine
from ltaug.options import NETWORK, STAGES
from ltaug.recipes import read_recipe, recipe_path

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
META = "ltaug.recipe"
RECIPE_TABLES = {"grow": ("synthesize", "train-classifier")}  # commands that read others than the table of their name
LAST_SECTIONS = ("Options", "Machine")
DIRECTORY = click.Path(path_type=Path)
RUN = click.Path(path_type=Path, exists=True, file_okay=False)


class SectionOption(click.Option):
    """An option that knows under which heading of the help it stands."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


option = partial(click.option, cls=SectionOption)


class SectionCommand(click.Command):
    """A command whose help lists its options under headings, and whose mistakes with disk and memory are ResourceErrors."""

    def invoke(self, ctx: click.Context) -> Any:
        with told_of_resources(ctx.params.get("out") or "a file"):
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for heading in [*(h for h in sections if h not in LAST_SECTIONS), *(h for h in LAST_SECTIONS if h in sections)]:
            with formatter.section(heading):
                formatter.write_dl(sections[heading], col_max=32)


class Commas(click.ParamType[tuple[Any, ...]]):
    """Values with commas between them; "none" is no value."""

    name = "list"

    def __init__(self, element: type) -> None:
        self.element = element

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if not isinstance(value, str):
            return tuple(value)
        parts = [p.strip() for p in value.split(",")] if value.strip() not in ("", "none") else []
        try:
            return tuple(self.element(p) for p in parts)
        except ValueError:
            kind = "whole numbers" if self.element is int else "numbers"
            self.fail(f"{value!r} is not {kind} with commas between them, such as 1,2,2", param, ctx)


def options_of(cls: type, section: str, *, leave_out: str = "", parts: Sequence[str] = ("",)) -> Callable[[Decorated], Decorated]:
    """Decorate a command with one option for every field of `cls` but one; what is not given arrives as None.

    `parts` are those of the work that the command does: of Machine it offers what they read.
    """

    def decorate(function: Decorated) -> Decorated:
        for f in reversed(dataclasses.fields(cls)):
            if f.name != leave_out and f.metadata["part"] in parts:
                function = _option(cls, f, section)(function)
        return function

    return decorate


def _option(cls: type, f: dataclasses.Field[Any], section: str) -> Callable[[Decorated], Decorated]:
    element, many, _ = field_types(cls)[f.name]
    flag = "--" + f.name.replace("_", "-")
    kwargs: dict[str, Any] = {"section": section, "default": None, "help": explained(f)}
    if element is bool:
        flag = flag if cls is Machine else f"{flag}/--no-{flag[2:]}"
        return option(flag, f.name, is_flag=True, **kwargs)
    if cls is Machine:
        kwargs["envvar"] = f"LTAUG_{f.name.upper()}"
    closed = f.metadata["choices"] and not f.metadata["joined"] and not f.metadata["check"]
    kind: Any = Commas(element) if many else click.Path() if element is Path else element
    words = {int: "N", float: "X", str: "TEXT", Path: "DIR"}
    metavar = f"[{'|'.join(f.metadata['choices'])}]{',...' if many else ''}" if closed else "LIST" if many else words[element]
    return option(flag, f.name, type=kind, metavar=metavar, **kwargs)


def given(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `cls` that were set by flag, environment or recipe, checked; of a recipe's those that something reads."""
    ctx = click.get_current_context()
    named = {f.name: values[f.name] for f in dataclasses.fields(cls) if values.get(f.name) is not None}
    from_recipe = {n: v for n, v in named.items() if ctx.get_parameter_source(n) is click.core.ParameterSource.DEFAULT_MAP}
    own = {n: v for n, v in named.items() if n not in from_recipe}
    unsettled = NETWORK if values.get("source") else ()  # --from: the network is the source's
    return checked(cls, read_of(cls, from_recipe, beside=own) | own, where="options", unsettled=unsettled)


def machine(values: Mapping[str, Any]) -> Machine:
    """Where to run, from the common flags."""
    chosen = {f.name: values[f.name] for f in dataclasses.fields(Machine) if values.get(f.name) is not None}
    if "data_dir" in chosen:
        chosen["data_dir"] = Path(chosen["data_dir"])
    return Machine(**check(Machine, chosen, where="options"))


def recipe_options(function: Decorated) -> Decorated:
    """--recipe and --arm: take this command's options from a recipe; flags and environment go before it."""
    kwargs: dict[str, Any] = {"section": "Recipe", "is_eager": True, "expose_value": False}
    function = option("--arm", metavar="NAME", callback=_from_recipe, help="apply this arm's overrides", **kwargs)(function)
    text = "take the options from a recipe (a .toml file or a shipped name); flags go before it"
    return option("--recipe", metavar="NAME", callback=_from_recipe, help=text, **kwargs)(function)


def _from_recipe(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Set the command's default_map as soon as both --recipe and --arm are known."""
    asked = ctx.meta.setdefault(META, {})
    asked[parameter.name] = value
    if len(asked) < 2 or (asked["recipe"] is None and asked["arm"] is None):
        return
    if asked["recipe"] is None:
        raise OptionError(f"--arm {asked['arm']} needs --recipe; name the recipe, or leave --arm out")
    recipe = read_recipe(recipe_path(asked["recipe"]))
    arms = {arm.name: arm for arm in recipe.arms}
    arm = arms.get(asked["arm"])
    if arm is None and asked["arm"] is not None:
        raise OptionError(f"--arm {asked['arm']!r} is not in recipe {recipe.name}; {nearest(asked['arm'], arms)}")
    command = ctx.info_name or ""
    table: dict[str, Any] = {}
    for stage in RECIPE_TABLES.get(command, (command,)):
        assert stage in STAGES, stage
        table |= recipe.given(arm, stage) if arm else recipe.tables.get(stage, {})
    asked["source"] = arm.source if arm else None
    ctx.default_map = {"seeds": recipe.seeds, **recipe.dataset, **table}


def require_source(source: Path | None) -> None:
    """Raise OptionError where the arm of --recipe starts from another arm's generator and no run of that is given."""
    asked = click.get_current_context().meta.get(META, {})
    if source is None and asked.get("source") is not None:
        raise OptionError(
            f"--arm {asked['arm']} of recipe {asked['recipe']} starts from the generator of arm {asked['source']!r}; "
            f"fit that one first and give its run with --from"
        )


def common_options(*parts: str, dry_run: bool = True, writes: bool = True) -> Callable[[Decorated], Decorated]:
    """The flags that every command has, and those of Machine that the given parts of its work read."""

    def decorate(function: Decorated) -> Decorated:
        if dry_run:
            text = "say what would be done, with time, memory and disk, and do nothing"
            function = option("--dry-run", is_flag=True, help=text)(function)
        text = "the result as one JSON object on stdout"
        function = option("--json", "as_json", is_flag=True, help=text)(function)
        if writes:
            function = option("--quiet", "-q", is_flag=True, help="no progress")(function)
        return options_of(Machine, "Machine", parts=parts)(function)

    return decorate


class ShareType(click.ParamType[tuple[int, int]]):
    """I/N, the I-th of N shares, as (I, N)."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        which, _, of = str(value).partition("/")
        if not (which.isdecimal() and of.isdecimal()):
            raise OptionError(f"--part {value!r} is not I/N; give a share such as 3/16")
        return int(which), int(of)


out_option = option("--out", type=DIRECTORY, required=True, metavar="DIR", help="the run directory")
workers_option = option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="processes side by side [default: one a core or GPU]"
)
engine_option = option(
    "--engine",
    metavar="dask:SCHEDULER",
    help="compute on a Dask cluster: dask:tcp://HOST:8786, or dask:FILE with its scheduler file",
)


def seed_option(help: str, **more: Any) -> Callable[[Decorated], Decorated]:
    """--seed, with what it means for this command."""
    return option("--seed", type=click.IntRange(min=0), metavar="N", help=help, **more)
