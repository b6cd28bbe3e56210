"""The stages as functions: each opens its run directory, calls the library below it and returns the directory.

This is the public Python API, equal to the commands; `pipeline` makes the same calls in parallel for a recipe. Each command
has a module, which is loaded when its function is first used: `inspect` needs no torch.

Throughout, `dataset` and `given` hold only what was explicitly chosen (keys as fields or flags); the rest is resolved
to the defaults for the size of the images.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltaug.stages.check import check_stages
    from ltaug.stages.classifier import train_classifier, train_extractor, train_judge
    from ltaug.stages.estimation import estimate, foresee
    from ltaug.stages.evaluation import evaluate_generator
    from ltaug.stages.figure import draw_figure
    from ltaug.stages.generator import fit_generator
    from ltaug.stages.inspection import inspect
    from ltaug.stages.report import write_report
    from ltaug.stages.synthesis import synthesize

_HOME = {
    "check_stages": "check",
    "draw_figure": "figure",
    "estimate": "estimation",
    "evaluate_generator": "evaluation",
    "fit_generator": "generator",
    "foresee": "estimation",
    "inspect": "inspection",
    "synthesize": "synthesis",
    "train_classifier": "classifier",
    "train_extractor": "classifier",
    "train_judge": "classifier",
    "write_report": "report",
}

__all__ = [
    "check_stages",
    "draw_figure",
    "estimate",
    "evaluate_generator",
    "fit_generator",
    "foresee",
    "inspect",
    "synthesize",
    "train_classifier",
    "train_extractor",
    "train_judge",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ltaug.stages' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ltaug.stages.{_HOME[name]}"), name)
