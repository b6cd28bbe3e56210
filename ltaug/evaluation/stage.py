"""The evaluate-generator stage: sample evenly over the classes, look at samples and reference, measure, fill the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ltaug.data.groups import class_groups
from ltaug.data.imageset import AnyImages, Images, ImageSet, Labels
from ltaug.disk import require_space
from ltaug.errors import DataError, MismatchError
from ltaug.evaluation.extractors import Extractor
from ltaug.evaluation.tables import OUTPUTS, write_pairs, write_per_class, write_samples
from ltaug.files import write_json
from ltaug.generator.generate import Generator, open_generated
from ltaug.generator.sampling import Sampling
from ltaug.metrics.evaluated import Evaluated, Looked
from ltaug.metrics.measures import measure_all
from ltaug.metrics.memorisation import closest_pairs
from ltaug.options import EvaluationOptions
from ltaug.records import METRICS_FILE
from ltaug.runs import Run
from ltaug.runtime import Runtime

Result = TypeVar("Result")
BLOCK = 1024  # images looked at between two signs of life


def per_class(samples: int, num_classes: int) -> int:
    """Images to generate of each class, so that every class has the same number: the nearest to `samples` in all, at least 1."""
    return max(1, round(samples / num_classes))


def disk_bytes(options: EvaluationOptions, train: ImageSet) -> int:
    """Of an evaluation's pictures and tables, about."""
    return int((options.pairs * 2 + 1000) * train.images[0].nbytes)


def run_evaluation(
    generator: Generator,
    train: ImageSet,
    reference: ImageSet,
    extractor: Extractor,
    options: EvaluationOptions,
    *,
    mirrored: bool,
    run: Run,
    runtime: Runtime,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """Fill `run` with metrics.json, per-class.csv, the closest pairs, and samples.png, and finish it.

    An interrupted run begins again; its images would be the same.

    Args:
        train: what the generator was fitted to; memorisation is measured against it, whatever the reference.
        reference: what generated images should be like.
        mirrored: whether the generator saw mirrored training images, so that a mirrored copy is a copy.
        provenance: more of where the figures come from, for metrics.json.

    Raises:
        MismatchError: generator, training set and reference have other classes or images of another shape.
        DataError: the reference has no images.
        ResourceError: the disk has too little space.
    """
    _require_fitting(generator, train, reference)
    require_space(run.path, disk_bytes(options, train))
    images, labels = _timed(run, "sample", lambda: _sample(generator, options, run=run, runtime=runtime, seed=seed))
    generated = _timed(run, "look", lambda: _look(extractor, images, labels, run=run, what="generated"))
    real = _timed(run, "look", lambda: _look(extractor, reference.images, reference.labels, run=run, what="reference"))
    run.event("Measuring.")
    groups = class_groups(train.class_counts).members
    groups = groups if len(groups) > 1 else {}  # all classes alike: the whole is the only group
    given = Evaluated(generated, real, images, train, mirrored, groups, options.neighbours, options.clusters)
    measured, pairs = _timed(run, "measure", lambda: (measure_all(given), closest_pairs(given, options.pairs)))
    origin = {  # two evaluations compare only where this agrees
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "reference": options.reference,
        "reference_digest": reference.digest,
        "reference_images": len(reference),
        "samples": len(images),
        **Sampling.of(options).as_json(),
        "seed": seed,
        **provenance,
    }
    document = {
        "summary": measured.summary,
        "reasons": measured.reasons,
        "warnings": measured.warnings,
        "per_class": measured.per_class,
        "class_names": list(train.class_names),
        "class_counts": train.class_counts.tolist(),
        "groups": {name: list(members) for name, members in groups.items()},
        "provenance": origin,
    }
    write_json(run.path / METRICS_FILE, document)
    write_per_class(run.path, document, generated=labels, reference=reference.labels)
    write_pairs(run.path, pairs, images, labels, train, mirrored=mirrored)
    write_samples(run.path, images, train)
    run.note(class_names=train.class_names, class_counts=train.class_counts.tolist(), samples=len(images))
    run.finish(list(OUTPUTS))


def _timed(run: Run, name: str, do: Callable[[], Result]) -> Result:
    started = time.monotonic()
    result = do()
    run.timing(name, time.monotonic() - started)
    return result


def _require_fitting(generator: Generator, train: ImageSet, reference: ImageSet) -> None:
    train.require_same_classes(generator.class_names, what="the generator")
    train.require_same_classes(reference.class_names, what="the reference")
    for what, shape in (("the generator makes", generator.image_shape), ("the reference has", reference.image_shape)):
        if shape != train.image_shape:
            raise MismatchError(
                f"{what} images of {shape} and {train.source} has {train.image_shape} (channels, height, width); "
                "use the same --image-size for all"
            )
    if len(reference) == 0:
        raise DataError(f"the reference {reference.source} has no images; name another --reference")


def _sample(generator: Generator, options: EvaluationOptions, *, run: Run, runtime: Runtime, seed: int) -> tuple[Images, Labels]:
    """Class after class, image i of class c from the stream of (seed, c, i)."""
    names = generator.class_names
    number = per_class(options.samples, len(names))
    keys = [(c, i) for c in range(len(names)) for i in range(number)]
    images = np.empty((len(keys), *generator.image_shape), np.uint8)
    generated = open_generated(generator, options, len(keys), seed=seed, runtime=runtime, tell=run.event)
    start = 0
    while start < len(keys):
        part = keys[start : start + generated.batch.size]
        images[start : start + len(part)] = generated(part)
        start += len(part)
        run.event("sampling", start, len(keys))
    run.note(sample_batch=generated.batch.size)
    return images, np.array([c for c, _ in keys], np.int64)


def _look(extractor: Extractor, images: AnyImages, labels: Labels, *, run: Run, what: str) -> Looked:
    """The extractor's view of all images, a block at a time."""
    seen = []
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK]
        seen.append(extractor.look(block))
        run.event(f"looking at {what} images", start + len(block), len(images))
    features, scores, probabilities = (None if parts[0] is None else np.concatenate(parts) for parts in zip(*seen, strict=True))
    assert features is not None
    return Looked(features=features, labels=labels, probabilities=probabilities, scores=scores)
