"""evaluate-generator: which extractor, which reference, and the classifier that is trained to look where none is named."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltaug.classifier.judge import Judge
from ltaug.data.imageset import Images, ImageSet
from ltaug.data.load import Dataset
from ltaug.data.sources import data_directory
from ltaug.errors import MismatchError, OptionError
from ltaug.evaluation.extractors import Extractor, Seen, open_extractor
from ltaug.evaluation.stage import run_evaluation
from ltaug.fields import plain, resolve
from ltaug.generator.finetune import saw_mirrored
from ltaug.generator.generate import Generator
from ltaug.generator.sampling import Sampling
from ltaug.methods import extractor_of
from ltaug.options import DatasetOptions, EvaluationOptions, Machine
from ltaug.runs import Event, Listener, ignore_events
from ltaug.runtime import Runtime, for_sampling, make_runtime
from ltaug.stages.classifier import How, train_extractor, without_draw
from ltaug.stages.opening import Given, already_done, load_data, load_origin, open_stage, relative_to, side_of, source_of

CLASSIFIER = "classifier"


def evaluate_generator(
    generator: Path,
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    extractor_run: Path | None = None,
    weights: Path | None = None,
    arm: str = "",
    about: str = "",
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Measure a generator's images: quality, diversity and memorisation, per class; `ltaug evaluate-generator`.

    Args:
        generator: a finished fit-generator run; memorisation is measured against its training images.
        given: EvaluationOptions by name.
        seed: of the generated images; None takes the generator's.
        extractor_run: a classifier run to look with, as --extractor classifier:RUN. None with --extractor classifier trains
            one beside `out`, in OUT.extractor.
        weights: the file of the extractor's published weights.
        arm, about: what the generator is called and said to be in a report.

    Raises:
        LtaugError: see errors.py; nothing is overwritten.
    """
    label = label or out.name
    runtime = make_runtime(machine.device, threads=machine.threads)
    made, data = load_origin(generator, machine, label, listener)
    seed = made.seed if seed is None else seed
    chosen = resolve(EvaluationOptions, given, image_side=side_of(data.train), where="evaluate-generator")
    name, extractor_run = _named_run(chosen.extractor, extractor_run, weights)
    sampling = for_sampling(runtime, machine, image_side=side_of(data.train), passes=Sampling.of(chosen).passes(chosen.samples))
    kind = chosen.reference or ("test" if data.rest is None else "balanced")
    reference = _reference(kind, made.dataset, data, machine, label, listener)
    if name == CLASSIFIER:
        how: How = {"machine": machine, "label": f"{label} extractor", "listener": listener, "wait": wait}
        beside = out.with_name(f"{out.name}.extractor")
        extractor_run = extractor_run or train_extractor(plain(made.dataset), out=beside, **how)
    extractor = _extractor(name, extractor_run, weights, data.train, machine, runtime, label, listener)
    source = Generator.load(generator, runtime=runtime)
    chosen = dataclasses.replace(chosen, extractor=name, reference=kind)
    looker = {"digest": extractor.digest, "path": None if extractor_run is None else relative_to(extractor_run, out)}
    with open_stage(
        out,
        "evaluate-generator",
        label=label,
        seed=seed,
        options={"arm": arm, "about": about, "dataset": plain(made.dataset), "evaluate-generator": plain(chosen)},
        inputs={
            "train": source_of(data.train),
            "reference": source_of(reference),
            "generator": {"digest": source.digest, "path": relative_to(generator, out)},
            "extractor": looker,
        },
        runtime=sampling,
        listener=listener,
        log=machine.log,
        wait=wait,
    ) as run:
        if not already_done(run):
            seen: dict[str, Any] = {"mirrored": saw_mirrored(made), "provenance": {"dataset": made.dataset.dataset}}
            run_evaluation(source, data.train, reference, extractor, chosen, run=run, runtime=sampling, seed=seed, **seen)
    return out


def weights_folder(machine: Machine) -> Path:
    """Where downloaded weights are kept."""
    return (machine.data_dir or data_directory()) / "weights"


def _extractor(
    name: str,
    extractor_run: Path | None,
    weights: Path | None,
    train: ImageSet,
    machine: Machine,
    runtime: Runtime,
    label: str,
    listener: Listener,
) -> Extractor:
    """The classifier of `extractor_run`, or else the extractor of that name with its published weights."""
    if extractor_run is not None:
        return _classifier(extractor_run, train, runtime)
    return open_extractor(
        name,
        weights=weights,
        folder=weights_folder(machine),
        download=machine.download,
        runtime=runtime,
        tell=lambda text, step, total: listener(Event(label, text, step, total)),
    )


def _named_run(extractor: str, extractor_run: Path | None, weights: Path | None) -> tuple[str, Path | None]:
    """The extractor's name without a run, and the classifier run to use if one was named either way."""
    name, path = extractor_of(extractor)
    if path and extractor_run is not None:
        raise OptionError(f"--extractor {extractor!r} and extractor_run {str(extractor_run)!r} both name a run; give one")
    if extractor_run is not None and name != CLASSIFIER:
        raise OptionError(f"extractor_run {str(extractor_run)!r} is a classifier, but the extractor is {name!r}; give one")
    if name == CLASSIFIER and weights is not None:
        raise OptionError(f"--weights {weights}: a classifier's weights are its run's; name it with --extractor classifier:RUN")
    return name, Path(path) if path else extractor_run


@dataclass(frozen=True)
class ClassifierExtractor:
    """A trained classifier as an extractor: what its last layer sees, and its probabilities.

    Attributes:
        class_names: of the images that are evaluated; only a classifier of these very classes can say whether one shows its
            class.
    """

    judge: Judge
    class_names: tuple[str, ...]
    name: str = CLASSIFIER

    @property
    def digest(self) -> str:
        return self.judge.digest

    def look(self, images: Images) -> Seen:
        probabilities = self.judge.probabilities(images)
        same = self.judge.class_names == self.class_names
        return Seen(self.judge.features(images), probabilities, probabilities if same else None)


def _classifier(path: Path, train: ImageSet, runtime: Runtime) -> ClassifierExtractor:
    judge = Judge.load(path, runtime=runtime)
    if judge.image_shape != train.image_shape:
        raise MismatchError(
            f"the classifier {path} takes images of {judge.image_shape} and the generator makes {train.image_shape} (channels, "
            "height, width); use one trained on the same dataset and --image-size"
        )
    return ClassifierExtractor(judge, train.class_names)


def _reference(kind: str, dataset: DatasetOptions, data: Dataset, machine: Machine, label: str, listener: Listener) -> ImageSet:
    """The images that generated ones should be like, with the classes of the training set in its order."""
    if kind == "train":
        return data.train
    if kind == "test":
        return data.test
    if kind == "balanced":
        if data.rest is None:
            remedy = "use --reference test or train, or name another dataset"
            raise OptionError(f"--reference balanced is the set before its long-tailed draw, and there was none; {remedy}")
        return load_data(without_draw(dataset), 0, machine, label, listener).train
    other = load_data(DatasetOptions(dataset=kind, image_size=dataset.image_size), 0, machine, label, listener).train
    return _in_order(other, data.train, f"--reference {kind}")


def _in_order(images: ImageSet, train: ImageSet, what: str) -> ImageSet:
    """The images with their classes numbered as in `train`."""
    if sorted(images.class_names) == sorted(train.class_names):
        place = np.array([train.class_names.index(name) for name in images.class_names], np.int64)
        images = ImageSet(images.images, place[images.labels], train.class_names, images.source)
    train.require_same_classes(images.class_names, what=what)
    return images
