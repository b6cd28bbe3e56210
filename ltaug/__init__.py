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
    from ltaug.options import DatasetOptions as DatasetOptions
    from ltaug.pipeline import run_recipe as run_recipe
    from ltaug.pipeline import run_until_decided as run_until_decided
    from ltaug.pipeline.grow import grow as grow
    from ltaug.recipes import Recipe as Recipe
    from ltaug.recipes import read_recipe as read_recipe
    from ltaug.report.document import Report as Report
    from ltaug.stages import draw_figure as draw_figure
    from ltaug.stages import estimate as estimate
    from ltaug.stages import evaluate_generator as evaluate_generator
    from ltaug.stages import export as export
    from ltaug.stages import export_generator as export_generator
    from ltaug.stages import fit_generator as fit_generator
    from ltaug.stages import inspect as inspect
    from ltaug.stages import merged as merged
    from ltaug.stages import resample as resample
    from ltaug.stages import synthesize as synthesize
    from ltaug.stages import train_classifier as train_classifier
    from ltaug.stages import write_report as write_report
    from ltaug.stages.made import RunPath as RunPath

_STAGES = (
    *("draw_figure", "estimate", "evaluate_generator", "export", "export_generator", "fit_generator", "inspect", "merged"),
    *("resample", "synthesize", "train_classifier", "write_report"),
)
_NAMES = {
    "ltaug.data.imageset": ("ImageSet",),
    "ltaug.data.load": ("Dataset", "load_dataset"),
    "ltaug.errors": ("LtaugError",),
    "ltaug.machine": ("Machine",),
    "ltaug.options": ("DatasetOptions",),
    "ltaug.pipeline": ("run_recipe", "run_until_decided"),
    "ltaug.pipeline.grow": ("grow",),
    "ltaug.recipes": ("Recipe", "read_recipe"),
    "ltaug.report.document": ("Report",),
    "ltaug.stages": _STAGES,
    "ltaug.stages.made": ("RunPath",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ltaug' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
