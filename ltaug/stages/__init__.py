"""The stages as functions: each opens its run directory, calls the library below it and returns the directory.

This is the public Python API, equal to the commands; `pipeline` makes the same calls in parallel for a recipe.

Throughout, `dataset` and `given` hold only what was explicitly chosen (keys as fields or flags); the rest is resolved
to the defaults for the size of the images. Importing this package loads torch; importing `ltaug` does not.
"""

from __future__ import annotations

from ltaug.stages.classification import train_classifier, train_extractor, train_judge
from ltaug.stages.estimation import estimate
from ltaug.stages.evaluation import evaluate_generator
from ltaug.stages.generation import fit_generator, synthesize
from ltaug.stages.reporting import inspect, write_report

__all__ = [
    "estimate",
    "evaluate_generator",
    "fit_generator",
    "inspect",
    "synthesize",
    "train_classifier",
    "train_extractor",
    "train_judge",
    "write_report",
]
