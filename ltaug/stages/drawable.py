"""The runs that figures are drawn from: generators with what they were fitted to, and evaluations with their generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltaug.data.load import Dataset
from ltaug.errors import MismatchError, OptionError
from ltaug.figures.evaluations import Evaluation
from ltaug.figures.subject import Subject, name_of, names_of
from ltaug.files import file_digest, read_json
from ltaug.generator.stage import Generator
from ltaug.options import Machine
from ltaug.runs import RUN_FILE, Listener, read_run, verify_outputs
from ltaug.runtime import Runtime
from ltaug.stages.opening import relative_to
from ltaug.stages.origin import load_origin

METRICS = "metrics.json"


def open_subjects(runs: Sequence[Path], *, runtime: Runtime) -> list[Subject]:
    """Generators for one figure.

    Raises:
        OptionError: one is named twice.
        MismatchError: one has other classes or images of another shape than the first.
    """
    records = [read_run(path, stage="fit-generator", finished=True) for path in runs]
    if len({path.resolve() for path in runs}) < len(runs):
        raise OptionError(f"{', '.join(map(str, runs))}: a generator is named twice; name each once")
    generators = [Generator.load(path, runtime=runtime) for path in runs]
    first = generators[0]
    for path, generator in zip(runs, generators, strict=True):
        if generator.class_names != first.class_names:
            raise MismatchError(f"{path} has other classes than {runs[0]}; draw generators of the same classes and class order")
        if generator.image_shape != first.image_shape:
            shapes = f"images of {generator.image_shape}, {runs[0]} of {first.image_shape} (channels, height, width)"
            raise MismatchError(f"{path} makes {shapes}; draw generators of the same image size")
    settings = [record["options"]["fit-generator"] for record in records]
    names = names_of(settings, told_apart(runs))
    return [
        Subject(name, generator, options, tuple(record["facts"]["class_counts"]), record["seed"])
        for name, generator, options, record in zip(names, generators, settings, records, strict=True)
    ]


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Of each path the part that differs: ["ddpm", "ddpm-ada"] of e/seed-0/ddpm/generator and e/seed-0/ddpm-ada/generator."""
    parts = [path.resolve().parts for path in paths]
    if len(parts) < 2:
        return [path.name for path in paths]
    room = min(map(len, parts))
    head = next((i for i in range(room) if len({p[i] for p in parts}) > 1), room)
    tail = next((i for i in range(room - head) if len({p[-1 - i] for p in parts}) > 1), room - head)
    return ["/".join(p[head : len(p) - tail]) or p[-1] for p in parts]


def common_data(runs: Sequence[Path], *, machine: Machine, label: str, listener: Listener) -> Dataset:
    """The dataset that these generators were fitted to.

    Raises:
        MismatchError: they were fitted to different training images, or those have changed since.
    """
    digests = [read_run(path)["inputs"]["train"]["digest"] for path in runs]
    for path, digest in zip(runs, digests, strict=True):
        if digest != digests[0]:
            remedy = "draw generators of one dataset, draw and seed"
            raise MismatchError(f"{path} was fitted to other training images than {runs[0]}; {remedy}")
    return load_origin(runs[0], machine, label, listener)[2]


def subject_inputs(runs: Sequence[Path], subjects: Sequence[Subject], out: Path) -> list[dict[str, Any]]:
    """Generators as a figure's run.json records them."""
    return [{"digest": s.generator.digest, "path": relative_to(path, out)} for path, s in zip(runs, subjects, strict=True)]


def open_evaluations(runs: Sequence[Path]) -> list[Evaluation]:
    """Evaluations with what is known of their generators.

    Raises:
        OptionError: one is named twice.
        MismatchError: another stage's run, not finished, or its generator is no longer where it was.
        CorruptError: metrics.json is missing or damaged.
    """
    if len({path.resolve() for path in runs}) < len(runs):
        raise OptionError(f"{', '.join(map(str, runs))}: an evaluation is named twice; name each once")
    return [_evaluation(path) for path in runs]


def _evaluation(path: Path) -> Evaluation:
    record = read_run(path, stage="evaluate-generator", finished=True)
    verify_outputs(path, record, [METRICS])
    fitted = _generator_of(path, record)
    settings = fitted["options"]["fit-generator"]
    started_from = fitted["inputs"].get("source", {}).get("steps", 0)
    return Evaluation(
        path=str(path),
        name=record["options"].get("arm") or name_of(settings),
        seed=fitted["seed"],
        train=fitted["inputs"]["train"]["digest"],
        settings=settings,
        origin={
            **{f"dataset.{key}": value for key, value in fitted["options"]["dataset"].items()},
            "steps of the generator it was started from": started_from,
        },
        metrics=read_json(path / METRICS),
    )


def evaluation_inputs(runs: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """Evaluations as a figure's run.json records them."""
    return [{"digest": file_digest(path / METRICS), "path": relative_to(path, out)} for path in runs]


def _generator_of(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the generator that was evaluated, where the run says it lies, and only if it is still that one."""
    given = record["inputs"]["generator"]
    generator = path / given["path"]
    if not (generator / RUN_FILE).is_file():
        raise MismatchError(f"the generator of {path} is not at {generator}; keep them together, as they were made")
    made = read_run(generator, stage="fit-generator", finished=True)
    if given["digest"] not in made["outputs"].values():
        raise MismatchError(f"the generator at {generator} is another than {path} evaluated; evaluate it again")
    return made
