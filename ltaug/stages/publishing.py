"""export of a generator: its published network, tuned, as a pipeline of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ltaug.errors import RunExistsError
from ltaug.files import atomic_directory, remove_halves
from ltaug.generator.exporting import write_pipeline
from ltaug.generator.finding import pipeline_of
from ltaug.generator.generate import Generator
from ltaug.machine import Machine
from ltaug.records import GeneratorRecord
from ltaug.runtime import make_runtime


def export_generator(run: Path, *, out: Path, machine: Machine = Machine()) -> dict[str, Any]:  # noqa: B008
    """Write a finished generator that was fitted with --pretrained as a pipeline of diffusers, with a card; `ltaug export`.

    Args:
        out: appears complete or not at all.

    Returns:
        out, to, and the classes that it knows.

    Raises:
        RunExistsError: `out` exists.
        MismatchError: not a finished fit-generator run with a published network; that is not what it was.
    """
    made = GeneratorRecord.read(run, finished=True)
    if out.exists():
        raise RunExistsError(f"{out} exists; name another directory with --out, or delete it")
    generator = Generator.load(run, runtime=make_runtime("cpu", threads=machine.threads))
    out.parent.mkdir(parents=True, exist_ok=True)
    remove_halves(out.parent, f".{out.name}.*")
    with atomic_directory(out) as folder:
        write_pipeline(generator, pipeline_of(made, download=False), folder)
        (folder / "README.md").write_text(_card(made), encoding="utf-8")
    return {"out": str(out), "to": "diffusers", "classes": list(made.class_names)}


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
