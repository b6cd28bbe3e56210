"""What an option is: a dataclass field with help, limits and owners, and how given values are checked against it."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeVar

from ltaug.errors import LtaugError, OptionError, nearest
from ltaug.registry import load
from ltaug.shapes import LARGEST

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SMALL_SIDE = 16
_UNSET: Any = object()
Options = TypeVar("Options", bound="DataclassInstance")
Owners = Mapping[str, tuple[str, ...] | bool]


def option(
    default: Any,
    help: str,
    *,
    small: Any = _UNSET,
    choices: Collection[str] = (),
    joined: bool = False,
    check: str | Callable[[str], object] = "",
    low: float | None = None,
    high: float | None = None,
    ascending: bool = False,
    owner: Owners | None = None,
    part: str = "",
    instead: Mapping[tuple[str, str | bool], Any] | None = None,
) -> Any:
    """A dataclass field with its help text, its allowed values and, where it differs, its default for small images.

    Args:
        choices: the names a value may be, such as a registry of methods.py.
        joined: several of them may be combined with +.
        check: a function, or "module:function", that raises OptionError for a text it does not accept; asked of a text that
            is none of the choices.
        ascending: the values are two, the first below the second; none where the default is none.
        owner: who reads the option: {"sampler": ("ddpm",)} says that only the sampler ddpm does, {"backbone": True} that every
            backbone does, {"drop_copies": True} that it is read where drop_copies is set, and False where it is not. Of several
            owners one suffices. Elsewhere the option is refused, and a component is given its own by `settings_of`.
        instead: defaults beside another option: {("optimizer", "adamw"): 5e-4} with --optimizer adamw, given or a default itself;
            True is any value of it. Of several that apply the last counts.
        part: of Machine: which part of the work reads it; a command offers those of its own parts.
    """
    limits = {"choices": choices, "joined": joined, "check": check, "low": low, "high": high, "ascending": ascending}
    metadata = {"help": help, **limits, "owner": owner or {}, "part": part, "instead": instead or {}}
    if small is not _UNSET:
        metadata["small"] = small
    return field(default=default, metadata=metadata)


def field_types(cls: type) -> dict[str, tuple[type, bool, bool]]:
    """For each field: its element type, whether it is a tuple and whether None is allowed."""
    found: dict[str, tuple[type, bool, bool]] = {}
    for name, hint in typing.get_type_hints(cls).items():
        optional = isinstance(hint, types.UnionType)
        if optional:
            hint = next(a for a in typing.get_args(hint) if a is not type(None))
        many = typing.get_origin(hint) is tuple
        found[name] = (typing.get_args(hint)[0] if many else hint, many, optional)
    return found


def check(cls: type, given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`given` with keys as field names and values of the fields' types.

    Args:
        given: keys spelt as flags (kebab-case) or as fields.
        where: what to name in an error, such as "recipe digits-lt, [synthesize]".

    Raises:
        OptionError: an unknown key or name (the nearest is suggested), a wrong type or a value outside its limits.
    """
    names = [f.name for f in dataclasses.fields(cls)]
    checked: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in names:
            raise OptionError(f"{where}: unknown key {key!r}; {nearest(key, [n.replace('_', '-') for n in names])}")
        checked[name] = _converted(cls, name, value, where)
    return checked


def resolve(cls: type[Options], given: Mapping[str, Any], *, image_side: int, where: str = "options") -> Options:
    """The stage's options: what was given, over the defaults for images of this size.

    Args:
        image_side: the larger of height and width in pixels; decides between the standard and the small defaults.

    Raises:
        OptionError: see `check` and `require_read`.
    """
    values = check(cls, given, where=where)
    small = dataclasses.fields(cls) if image_side <= SMALL_SIDE else ()
    smaller = {f.name: f.metadata["small"] for f in small if "small" in f.metadata}
    options = cls(**(smaller | _instead(cls, values) | values))
    require_read(cls, values, {f.name: getattr(options, f.name) for f in dataclasses.fields(cls)}, where=where)
    return options


def checked(cls: type, given: Mapping[str, Any], *, where: str, unsettled: Collection[str] = ()) -> dict[str, Any]:
    """`check`, and that every given option is read and goes with the others, as far as that does not depend on the images.

    Args:
        unsettled: options that something else decides, such as the network of a generator to start from.

    Raises:
        OptionError: see `check` and `require_read`; options that do not go together.
    """
    values = check(cls, given, where=where)
    known = {name: value for name, value in known_of(cls, values).items() if name not in unsettled}
    require_read(cls, values, known, where=where)
    try:
        cls(**(_instead(cls, values) | values))
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error
    return values


def known_of(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Given options and the defaults of the others, without those that depend on the size of the images."""
    defaults = {f.name: f.default for f in dataclasses.fields(cls) if "small" not in f.metadata}
    return defaults | _instead(cls, given) | dict(given)


def require_read(cls: type, given: Mapping[str, Any], known: Mapping[str, Any], *, where: str) -> None:
    """Raise OptionError for a given option that nobody reads, unless it is given one of its own defaults.

    Args:
        given: options by field name.
        known: the values that decide who reads what, by field name; owners that are missing are taken to read.
    """
    for name, value in given.items():
        f = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]
        if is_read(f, known) or value in (f.default, f.metadata.get("small", f.default)):
            continue
        readers = _either(cls, f, [key for key in f.metadata["owner"] if key in known], known)
        raise OptionError(f"{where}: {_flag(name)} {shown(value)} is read only with {readers}; change that or leave it out")


def read_of(cls: type, given: Mapping[str, Any], *, beside: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given options that somebody reads where those `beside` them are given too."""
    known = known_of(cls, {**given, **beside})
    return {name: value for name, value in given.items() if is_read(cls.__dataclass_fields__[name], known)}  # type: ignore[attr-defined]


def is_read(f: dataclasses.Field[Any], known: Mapping[str, Any]) -> bool:
    """Whether somebody reads an option; an owner whose value is not known is taken to read."""
    owner: Owners = f.metadata["owner"]
    return not owner or any(key not in known for key in owner) or reads(owner, known)


def reads(owner: Owners, known: Mapping[str, Any]) -> bool:
    """Whether one of the owners whose values are known has a value that reads."""
    return any(_names(names, known[key]) for key, names in owner.items() if key in known)


def settings_of(options: DataclassInstance, owner: str, name: str) -> dict[str, Any]:
    """The keyword arguments of the component `name` that the option `owner` names: exactly the options it owns.

    An option that is called after its owner loses that part of its name: coral_weight is CORAL's `weight`.
    """
    fields = [f for f in dataclasses.fields(options) if owner in f.metadata["owner"]]
    own = [f for f in fields if f.metadata["owner"][owner] is True or name in f.metadata["owner"][owner]]
    return {f.name.removeprefix(f"{name.replace('-', '_')}_"): getattr(options, f.name) for f in own}


def plain(options: Any) -> dict[str, Any]:
    """Options as JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(options).items()}


def shown(value: Any) -> str:
    """An option's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(str(v) for v in value) or "none"
    return "not set" if value is None else str(value)


def explained(f: dataclasses.Field[Any]) -> str:
    """An option's help text, and its defaults."""
    text = str(f.metadata["help"])
    if (f.default is None or f.default is False) and "small" not in f.metadata:
        return text
    defaults = f"default: {shown(f.default)}"
    if "small" in f.metadata:
        defaults += f"; {shown(f.metadata['small'])} for images up to {SMALL_SIDE} px"
    for (key, name), value in f.metadata["instead"].items():
        defaults += f"; {shown(value)} with {_flag(key)}{'' if name is True else f' {name}'}"
    return f"{text} [{defaults}]"


def _names(owner: tuple[str, ...] | bool, value: Any) -> bool:
    if isinstance(owner, bool):
        return bool(value) == owner
    return value in owner or any(part in owner for part in str(value).split("+"))


def _either(cls: type, f: dataclasses.Field[Any], owners: list[str], known: Mapping[str, Any]) -> str:
    """'--objective ddpm+cbdm (it is ddpm)', or '--select-agreement or --select-distance'."""
    texts = []
    for key in owners:
        names, metadata = f.metadata["owner"][key], cls.__dataclass_fields__[key].metadata  # type: ignore[attr-defined]
        if isinstance(names, bool):
            kind, many, optional = field_types(cls)[key]
            switch = _flag(key) if kind is bool or many or optional else f"{_flag(key)} above 0"
            texts.append(switch if names else f"no {switch}")
        else:
            wanted = f"{known[key]}+{names[0]}" if metadata["joined"] else " or ".join(names)
            texts.append(f"{_flag(key)} {wanted} (it is {known[key]})")
    return " or ".join(texts)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _instead(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults that other options decide on: those that are given, and then those that these decide on."""
    named = [(f.name, asked, value) for f in dataclasses.fields(cls) for asked, value in f.metadata["instead"].items()]
    found: dict[str, Any] = {}
    for _ in range(2):  # a preset names the optimizer, and that its learning rate
        known = found | dict(given)
        found = {
            name: value
            for name, (key, chosen), value in named
            if (known.get(key) is not None if chosen is True else known.get(key) == chosen)
        }
    return found


def _converted(cls: type, name: str, value: Any, where: str) -> Any:
    """`value` as the field's type, checked against its choices and limits, or OptionError."""
    element, many, optional = field_types(cls)[name]
    metadata = cls.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    at = f"{where}: {name.replace('_', '-')}"
    if value is None and optional:
        return None
    if not many:
        return _checked(metadata, value, element, at)
    if not isinstance(value, list | tuple):
        raise OptionError(f"{at} = {value!r} is not a list")
    values = tuple(_checked(metadata, v, element, at) for v in value)
    none = not values and not cls.__dataclass_fields__[name].default  # type: ignore[attr-defined]
    if metadata["ascending"] and not none and not (len(values) == 2 and values[0] < values[1]):
        limits = f"between {metadata['low']:g} and {metadata['high']:g}"
        raise OptionError(f"{at} = {shown(values)} must be two ascending numbers {limits}, such as 0.2,0.7")
    return values


def _checked(metadata: Mapping[str, Any], value: Any, element: type, at: str) -> Any:
    if element is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < sys.float_info.max else math.inf
    if element is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # per-class-budget = 500
    if metadata["check"] and isinstance(value, Mapping):
        value = _json_text(value, at)  # per_class_budget = {"9": 300}
    if not isinstance(value, element) or (element is not bool and isinstance(value, bool)):
        raise OptionError(f"{at} = {value!r} is not a {element.__name__}")
    if isinstance(value, str):
        _require_known(metadata, value, at)
    low, high = metadata["low"], metadata["high"]
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{at} = {value!r} must be a finite number")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise OptionError(f"{at} = {value!r} must be below 2**63")
    if element in (int, float) and not ((low is None or value >= low) and (high is None or value <= high)):
        limit = f"at least {low}" if high is None else f"between {low} and {high}"
        raise OptionError(f"{at} = {value!r} must be {limit}")
    return value


def _json_text(value: Mapping[Any, Any], at: str) -> str:
    """A mapping as JSON, NumPy's whole numbers among its values."""
    try:
        return json.dumps(dict(value), default=operator.index)
    except TypeError as error:
        raise OptionError(f"{at} = {value!r} cannot be written as JSON ({error})") from error


def _require_known(metadata: Mapping[str, Any], value: str, at: str) -> None:
    """Raise OptionError for a text that is none of the choices and that the option's own check does not accept."""
    choices, own = metadata["choices"], metadata["check"]
    if value in choices or not (choices or own):
        return
    if own:
        try:
            (load(own) if isinstance(own, str) else own)(value)
        except LtaugError as error:  # it names the flag and the value itself
            where = at.partition(":")[0]
            raise type(error)(str(error) if where == "options" else f"{where}: {error}") from error
        return
    for part in value.split("+") if metadata["joined"] else [value]:
        if part not in choices:
            unknown = "" if part == value else f"{part!r} is unknown; "
            raise OptionError(f"{at} = {value!r}: {unknown}{nearest(part, choices)}")
