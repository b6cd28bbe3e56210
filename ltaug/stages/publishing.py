"""export of a generator: its averaged network as others load it, with a card."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltaug.errors import LtaugError
from ltaug.exporting.model_card import model_card
from ltaug.exporting.once import made_once
from ltaug.fields import plain
from ltaug.generator.finding import pipeline_of
from ltaug.generator.generate import Generator
from ltaug.generator.trainee import final_weights
from ltaug.machine import Machine
from ltaug.methods import GENERATOR_LAYOUTS
from ltaug.options import DatasetOptions, GeneratorOptions
from ltaug.records import METRICS_FILE, EvaluationRecord, GeneratorRecord
from ltaug.runs import RUN_FILE
from ltaug.runtime import make_runtime
from ltaug.stages.remaking import flags


def export_generator(run: Path, *, out: Path, to: str = "diffusers", machine: Machine = Machine()) -> dict[str, Any]:  # noqa: B008
    """Write the network of a finished generator for others, with a card; `ltaug export`.

    Args:
        to: diffusers, for a network that was fitted with --pretrained, or safetensors, for one of ltaug's own.
        out: appears complete or not at all; left as it is where the same call filled it before.

    Returns:
        out, to, and the classes that it knows.

    Raises:
        OptionError: no such layout.
        RunExistsError: `out` exists and is something else.
        MismatchError: not a finished fit-generator run, or its network is of the other kind; that is not what it was.
    """
    write = GENERATOR_LAYOUTS.find(to)
    made = GeneratorRecord.read(run, finished=True)
    weights = made.outputs[final_weights(made.options.steps)]
    evaluation = _evaluation(run, weights)

    def make(folder: Path) -> dict[str, Any]:
        generator = Generator.load(run, runtime=make_runtime("cpu", threads=machine.threads))
        write(generator, pipeline_of(made, download=False), folder)
        options = [*flags(DatasetOptions, plain(made.dataset)), *flags(GeneratorOptions, plain(made.options))]
        measured = evaluation and evaluation.metrics()["summary"]
        (folder / "README.md").write_text(model_card(made, shlex.join(options), measured, to=to), encoding="utf-8")
        return {"classes": list(made.class_names)}

    asked = {"generator": weights, "to": to, "evaluation": evaluation and evaluation.outputs[METRICS_FILE]}
    return {"out": str(out), **made_once(out, asked, make)}


def _evaluation(run: Path, weights: str) -> EvaluationRecord | None:
    """The first finished evaluation of these weights among the runs beside `run`, where `ltaug run` has it."""
    for path in sorted(run.resolve().parent.glob(f"*/{RUN_FILE}")):
        with suppress(LtaugError):  # another stage's run, or damaged
            found = EvaluationRecord.read(path.parent, finished=True)
            if found.generator_run.digest == weights:
                return found
    return None
