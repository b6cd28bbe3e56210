"""ltaug: will synthetic tail images make a classifier better, by how much, and can that be trusted?

The public API, equal to the commands. Nothing heavy is imported until one of these names is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltaug.data.imageset import ImageSet as ImageSet
    from ltaug.data.load import Dataset as Dataset
    from ltaug.data.load import load_dataset as load_dataset
    from ltaug.errors import LtaugError as LtaugError
    from ltaug.machine import Machine as Machine
    from ltaug.pipeline import run_recipe as run_recipe
    from ltaug.pipeline import run_until_decided as run_until_decided
    from ltaug.pipeline.grow import grow as grow
    from ltaug.recipes import Recipe as Recipe
    from ltaug.recipes import read_recipe as read_recipe
    from ltaug.stages import draw_figure as draw_figure
    from ltaug.stages import estimate as estimate
    from ltaug.stages import evaluate_generator as evaluate_generator
    from ltaug.stages import fit_generator as fit_generator
    from ltaug.stages import inspect as inspect
    from ltaug.stages import synthesize as synthesize
    from ltaug.stages import train_classifier as train_classifier
    from ltaug.stages import write_report as write_report

_HOME = {
    "Dataset": "ltaug.data.load",
    "ImageSet": "ltaug.data.imageset",
    "LtaugError": "ltaug.errors",
    "Machine": "ltaug.machine",
    "Recipe": "ltaug.recipes",
    "draw_figure": "ltaug.stages",
    "estimate": "ltaug.stages",
    "evaluate_generator": "ltaug.stages",
    "fit_generator": "ltaug.stages",
    "grow": "ltaug.pipeline.grow",
    "inspect": "ltaug.stages",
    "load_dataset": "ltaug.data.load",
    "read_recipe": "ltaug.recipes",
    "run_recipe": "ltaug.pipeline",
    "run_until_decided": "ltaug.pipeline",
    "synthesize": "ltaug.stages",
    "train_classifier": "ltaug.stages",
    "write_report": "ltaug.stages",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ltaug' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
