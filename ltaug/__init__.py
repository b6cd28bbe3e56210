"""ltaug: will synthetic tail images make a classifier better, by how much, and can that be trusted?

The public API, equal to the commands. Nothing heavy is imported until one of these names is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltaug.data.imageset import ImageSet
    from ltaug.data.load import Dataset, load_dataset
    from ltaug.errors import LtaugError
    from ltaug.options import Machine
    from ltaug.pipeline import run_recipe
    from ltaug.recipes import Recipe, read_recipe
    from ltaug.stages import (
        draw_figure,
        estimate,
        evaluate_generator,
        fit_generator,
        inspect,
        synthesize,
        train_classifier,
        write_report,
    )

_HOME = {
    "Dataset": "ltaug.data.load",
    "ImageSet": "ltaug.data.imageset",
    "LtaugError": "ltaug.errors",
    "Machine": "ltaug.options",
    "Recipe": "ltaug.recipes",
    "draw_figure": "ltaug.stages",
    "estimate": "ltaug.stages",
    "evaluate_generator": "ltaug.stages",
    "fit_generator": "ltaug.stages",
    "inspect": "ltaug.stages",
    "load_dataset": "ltaug.data.load",
    "read_recipe": "ltaug.recipes",
    "run_recipe": "ltaug.pipeline",
    "synthesize": "ltaug.stages",
    "train_classifier": "ltaug.stages",
    "write_report": "ltaug.stages",
}

__all__ = [
    "Dataset",
    "ImageSet",
    "LtaugError",
    "Machine",
    "Recipe",
    "draw_figure",
    "estimate",
    "evaluate_generator",
    "fit_generator",
    "inspect",
    "load_dataset",
    "read_recipe",
    "run_recipe",
    "synthesize",
    "train_classifier",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ltaug' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
