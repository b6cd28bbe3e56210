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
    from ltaug.stages.check import check_stages as check_stages
    from ltaug.stages.classifier import train_classifier as train_classifier
    from ltaug.stages.classifier import train_extractor as train_extractor
    from ltaug.stages.classifier import train_judge as train_judge
    from ltaug.stages.crossfit import cross_fit as cross_fit
    from ltaug.stages.damage import find_damage as find_damage
    from ltaug.stages.diagnosis import diagnose as diagnose
    from ltaug.stages.estimation import estimate as estimate
    from ltaug.stages.evaluation import evaluate_generator as evaluate_generator
    from ltaug.stages.figure import draw_figure as draw_figure
    from ltaug.stages.generator import fit_generator as fit_generator
    from ltaug.stages.leftovers import find_leftovers as find_leftovers
    from ltaug.stages.merging import export as export
    from ltaug.stages.merging import merged as merged
    from ltaug.stages.opening import inspect as inspect
    from ltaug.stages.publishing import export_generator as export_generator
    from ltaug.stages.report import write_report as write_report
    from ltaug.stages.resampling import resample as resample
    from ltaug.stages.synthesis import make_part as make_part
    from ltaug.stages.synthesis import synthesize as synthesize

_HOME = {
    "check_stages": "check",
    "cross_fit": "crossfit",
    "diagnose": "diagnosis",
    "draw_figure": "figure",
    "estimate": "estimation",
    "evaluate_generator": "evaluation",
    "export": "merging",
    "export_generator": "publishing",
    "find_damage": "damage",
    "find_leftovers": "leftovers",
    "fit_generator": "generator",
    "inspect": "opening",
    "make_part": "synthesis",
    "merged": "merging",
    "resample": "resampling",
    "synthesize": "synthesis",
    "train_classifier": "classifier",
    "train_extractor": "classifier",
    "train_judge": "classifier",
    "write_report": "report",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ltaug.stages' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ltaug.stages.{_HOME[name]}"), name)
