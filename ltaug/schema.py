"""JSON Schema of recipes, for editors that complete and check TOML; made from the options, so that nothing stands twice.

It knows keys with hyphens, as recipes have them. What depends on other options or on the images only ltaug itself checks.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ltaug.fields import explained, field_types
from ltaug.looks import LIMIT
from ltaug.options import STAGES, DatasetOptions, GeneratorOptions
from ltaug.recipes import ARM_NAME, CONTROL

_NAMES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe, in draft 7, which TOML editors know."""
    about = {"type": "string", "description": "what it is about"}
    source = {"type": "string", "description": "the arm whose generator this one's starts from"}
    tables: dict[str, Any] = {stage: {"$ref": f"#/definitions/{stage}"} for stage in STAGES}
    own = {"fit-generator": _closed({"from": source} | _properties(GeneratorOptions))}
    shared = {
        "about": about,
        "seeds": {"type": "integer", "minimum": 1, "maximum": LIMIT, "description": "how often to repeat [default: 1]"},
        "baseline": {"type": "string", "description": "the arm that others are compared with [default: the first]"},
    }
    arms = {
        "type": "object",
        "description": "what is compared: by its name, what an arm changes in each stage",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^(?!judges$|{CONTROL}){ARM_NAME.pattern}$"},
        "additionalProperties": _closed({"about": about} | tables | own),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ltaug recipe",
        **_closed(shared | _properties(DatasetOptions) | tables | {"arms": arms}),
        "required": ["arms"],
        "definitions": {stage: _closed(_properties(cls)) for stage, cls in STAGES.items()},
    }


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _properties(cls: type) -> dict[str, Any]:
    """The options of `cls` as keys of a recipe."""
    return {f.name.replace("_", "-"): {"description": explained(f)} | _value(cls, f) for f in dataclasses.fields(cls)}


def _value(cls: type, f: dataclasses.Field[Any]) -> dict[str, Any]:
    element, many, _ = field_types(cls)[f.name]
    one = _text(f) if element is str else {"type": _NAMES[element]}
    one |= {key: f.metadata[limit] for key, limit in (("minimum", "low"), ("maximum", "high")) if f.metadata[limit] is not None}
    if not many:
        return one
    two = {"minItems": 2 if f.default else 0, "maxItems": 2} if f.metadata["ascending"] else {}
    return {"type": "array", "items": one, **two}


def _text(f: dataclasses.Field[Any]) -> dict[str, Any]:
    """A name, names joined by +, or what only the option's own check knows, with the names that an editor may offer."""
    names, more = list(f.metadata["choices"]), bool(f.metadata["check"])
    if names and f.metadata["joined"]:
        return {"type": "string", "pattern": "^({0})(\\+({0}))*$".format("|".join(names))}
    if not more:
        return {"enum": names} if names else {"type": ["string", "integer"]}
    # As in fields.py, a whole number may stand for a text (per-class-budget = 500) and a table for JSON.
    anything = {"type": ["string", "integer", "object"]}
    return {"anyOf": [{"enum": names}, anything]} if names else anything
