"""evaluate-generator: which extractor, which reference, and the classifier that is trained to look where none is named."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ltaug.classifier.judge import Judge
from ltaug.data.imageset import Images, ImageSet
from ltaug.data.load import Dataset
from ltaug.data.sources import data_directory
from ltaug.errors import MismatchError, OptionError
from ltaug.evaluation.extractors import Extractor, Seen, open_extractor, published
from ltaug.evaluation.stage import run_evaluation
from ltaug.fields import plain, resolve
from ltaug.generator.finetune import saw_mirrored
from ltaug.generator.generate import Generator
from ltaug.generator.sampling import Sampling
from ltaug.machine import Machine
from ltaug.methods import extractor_of
from ltaug.options import DatasetOptions, EvaluationOptions
from ltaug.runtime import Runtime, for_sampling
from ltaug.stages.classifier import outside_of, train_extractor, without_draw
from ltaug.stages.made import RunPath
from ltaug.stages.opening import Given, How, Job, side_of, source_of

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
    **how: Unpack[How],
) -> RunPath:
    """Measure a generator's images: quality, diversity and memorisation, per class; `ltaug evaluate-generator`.

    Args:
        generator: a finished fit-generator run; memorisation is measured against its training images.
        given: EvaluationOptions by name.
        seed: of the generated images; None takes the generator's.
        extractor_run: a classifier run to look with, as --extractor classifier:RUN. None with --extractor classifier trains
            one beside `out`, in OUT.extractor.
        weights: the file of the extractor's published weights.
        arm, about: what the generator is called and said to be in a report.
        how: machine, label, listener and wait (stages.opening.How).

    Raises:
        LtaugError: see errors.py; nothing is overwritten.
    """
    job = Job("evaluate-generator", out, **how)
    job.check(given)
    runtime = job.runtime()
    made, data = job.load_origin(generator)
    seed, train = made.seed if seed is None else seed, data.train
    chosen = resolve(EvaluationOptions, given, image_side=side_of(train), where=job.stage)
    name, extractor_run = _named_run(chosen.extractor, extractor_run, weights)
    sampling = for_sampling(runtime, job.machine, image_side=side_of(train), passes=Sampling.of(chosen).passes(chosen.samples))
    kind = chosen.reference or ("test" if data.rest is None else "balanced")
    reference = _reference(kind, made.dataset, data, job)
    if name == CLASSIFIER and extractor_run is None:
        beside = out.with_name(f"{out.name}.extractor")
        extractor_run = train_extractor(plain(made.dataset), out=beside, **job.how(f"{job.name} extractor"))
    extractor: Extractor
    if extractor_run is not None:
        extractor = _classifier(extractor_run, train, runtime)
        looker, seen_by = job.input(extractor.digest, extractor_run), outside_of([extractor_run], "extractor")
    else:
        folder, download = weights_folder(job.machine), job.machine.download
        extractor = open_extractor(name, weights=weights, folder=folder, download=download, runtime=runtime, tell=job.tell)
        looker, seen_by = {"digest": extractor.digest, "path": None}, published(name)
    source = Generator.load(generator, runtime=runtime)
    chosen = dataclasses.replace(chosen, extractor=name, reference=kind)
    with job.open(
        sampling,
        seed=seed,
        options={"arm": arm, "about": about, "dataset": plain(made.dataset), job.stage: plain(chosen)},
        inputs={
            "train": source_of(train),
            "reference": source_of(reference),
            "generator": job.input(source.digest, generator),
            "extractor": looker,
        },
        outside=[*made.outside, *seen_by],
    ) as run:
        if not run.finished:
            seen: dict[str, Any] = {"mirrored": saw_mirrored(made), "provenance": {"dataset": made.dataset.dataset}}
            run_evaluation(source, train, reference, extractor, chosen, run=run, runtime=sampling, seed=seed, **seen)
    return RunPath(out)


def weights_folder(machine: Machine) -> Path:
    """Where downloaded weights are kept."""
    return (machine.data_dir or data_directory()) / "weights"


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

    Only a classifier of the very classes that are evaluated, `class_names`, can say whether an image shows its class.
    """

    judge: Judge
    class_names: tuple[str, ...]
    digest: str
    name: str = CLASSIFIER

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
    return ClassifierExtractor(judge, train.class_names, judge.digest)


def _reference(kind: str, dataset: DatasetOptions, data: Dataset, job: Job) -> ImageSet:
    """The images that generated ones should be like, with the classes of the training set in its order."""
    if kind == "train":
        return data.train
    if kind == "test":
        return data.test
    if kind == "balanced":
        if data.rest is None:
            remedy = "use --reference test or train, or name another dataset"
            raise OptionError(f"--reference balanced is the set before its long-tailed draw, and there was none; {remedy}")
        return job.load(without_draw(dataset), 0).train
    images, train = job.load(DatasetOptions(dataset=kind, image_size=dataset.image_size), 0).train, data.train
    if sorted(images.class_names) == sorted(train.class_names):
        place = np.array([train.class_names.index(name) for name in images.class_names], np.int64)
        images = ImageSet(images.images, place[images.labels], train.class_names, images.source)
    train.require_same_classes(images.class_names, what=f"--reference {kind}")
    return images
