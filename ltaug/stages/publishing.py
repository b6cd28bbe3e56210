"""export of a generator: its published network, tuned, as a pipeline of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltaug.exporting.once import made_once
from ltaug.generator.exporting import write_pipeline
from ltaug.generator.finding import pipeline_of
from ltaug.generator.generate import Generator
from ltaug.generator.trainee import final_weights
from ltaug.machine import Machine
from ltaug.records import GeneratorRecord
from ltaug.runtime import make_runtime


def export_generator(run: Path, *, out: Path, machine: Machine = Machine()) -> dict[str, Any]:  # noqa: B008
    """Write a finished generator that was fitted with --pretrained as a pipeline of diffusers, with a card; `ltaug export`.

    Args:
        out: appears complete or not at all; left as it is where the same call filled it before.

    Returns:
        out, to, and the classes that it knows.

    Raises:
        RunExistsError: `out` exists and is something else.
        MismatchError: not a finished fit-generator run with a published network; that is not what it was.
    """
    made = GeneratorRecord.read(run, finished=True)

    def make(folder: Path) -> dict[str, Any]:
        generator = Generator.load(run, runtime=make_runtime("cpu", threads=machine.threads))
        write_pipeline(generator, pipeline_of(made, download=False), folder)
        (folder / "README.md").write_text(_card(made), encoding="utf-8")
        return {"classes": list(made.class_names)}

    asked = {"generator": made.outputs[final_weights(made.options.steps)], "to": "diffusers"}
    return {"out": str(out), **made_once(out, asked, make)}


def _card(made: GeneratorRecord) -> str:
    """The model card: what it was tuned from and to, and under which licences."""
    base = next(one for one in made.outside if one.role == "generator")
    licence = f"license: {base.licence}\n" if base.licence else ""
    origins = "".join(f"- {one.role}: {one}\n" for one in made.outside)
    return f"""---
library_name: diffusers
{licence}tags: [long-tailed, ltaug]
---
# {base.name}, tuned to {len(made.class_names)} classes

{base.name} was tuned by ltaug ({made.options.objective}, {made.options.tune}, {made.steps} steps) to
{sum(made.class_counts)} real images of {made.train_source} (SHA-256 {made.train_digest}).
Classes by number: {", ".join(made.class_names)}.

Outside weights, whose licences hold here too:

{origins}
The licence of the real images holds as well; ltaug knows nothing of it.
"""
