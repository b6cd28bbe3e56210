"""fit-generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch

from ltaug.data.imageset import ImageSet
from ltaug.distributed.group import Group, open_group
from ltaug.fields import plain, resolve
from ltaug.generator.finding import find_named
from ltaug.generator.finetune import continued
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import Generator
from ltaug.generator.objectives.terms import Judged
from ltaug.generator.pipeline import digest_of, weights_taken
from ltaug.generator.stage import run_generator
from ltaug.options import NETWORK, GeneratorOptions, fit_judges_needed
from ltaug.outside import Outside
from ltaug.place import ALONE, Place
from ltaug.records import GeneratorRecord
from ltaug.runs import Run, follow_run
from ltaug.runtime import Runtime, for_fit
from ltaug.stages.made import RunPath
from ltaug.stages.opening import Given, How, Job, dataset_options, side_of, source_of

if TYPE_CHECKING:
    from ltaug.classifier.judge import Judge


def fit_generator(
    dataset: Given,
    given: Given,
    *,
    out: Path,
    source: Path | None = None,
    judges: Sequence[Path] | None = None,
    seed: int | None = None,
    place: Place = ALONE,
    **how: Unpack[How],
) -> RunPath:
    """Fit a diffusion model to the training images; `ltaug fit-generator`.

    Args:
        dataset, given: DatasetOptions and GeneratorOptions by name.
        out: the run directory; an unfinished run of the same options goes on, a finished one is left as it is.
        source: a finished fit-generator run to start from, whose network options are taken; so are its dataset options
            where none is given. Classes are matched by name; its averaged weights are the start, `steps` further ones.
        judges: classifier runs on the real images, for an objective that needs judges. None trains one beside `out`, in
            OUT.judges, if it does; several processes must all see that folder.
        seed: of the draw and of the training; None takes the source's, or 0.
        place: of this process among those that fit the generator together, each with this same call. Rank 0 alone reads and
            writes `out`; all of them return when it is finished.
        how: machine, label, listener and wait (stages.opening.How).

    Raises:
        LtaugError: see errors.py; nothing is overwritten. With several processes, EndedElsewhere in those that have nothing
            to say of why the command ended.
    """
    job = Job("fit-generator", out, place, **how)
    job.check(given, unsettled=() if source is None else NETWORK)
    needed = fit_judges_needed(given, judges or ())
    with open_group(place, device=job.machine.device) as group:
        runtime = job.runtime()
        dataset, given, seed = continued(source, dataset, given, seed)
        drawn = dataset_options(dataset)
        train = group.first_on_each_machine(partial(job.load, drawn, seed)).train
        side = side_of(train)
        generator = resolve(GeneratorOptions, given, image_side=side, where=job.stage)
        runtime = for_fit(runtime, job.machine, image_side=side, steps=generator.steps)
        inputs: dict[str, Any] = {"train": source_of(train)}
        pipeline = group.first_on_each_machine(partial(find_named, generator, job.machine.download, job.tell))
        outside: list[Outside] = []
        if pipeline is not None:
            outside += weights_taken(generator, pipeline)
            inputs["pipeline"] = job.input(digest_of(outside), pipeline.folder)
        with torch.device("meta"):  # what the images or the options do not allow is said before a run is there
            build_denoiser(generator, image_shape=train.image_shape, num_classes=train.num_classes, pipeline=pipeline)
        start = None if source is None else Generator.load(source, runtime=runtime)
        if start is not None:
            outside += GeneratorRecord.read(start.path).outside
            inputs["source"] = {**job.input(start.digest, start.path), "steps": start.steps}
        seen: list[Judge] = []
        if needed:
            from ltaug.stages.classifier import load_judges, outside_of, trained_judge  # most fits need none

            paths = judges or group.led(lambda: [trained_judge(job, i, plain(drawn), seed=seed) for i in range(needed)])
            seen = load_judges(paths, train, runtime=job.runtime())
            outside += outside_of(paths, "judge")
            inputs["judges"] = [job.input(judge.digest, path) for path, judge in zip(paths, seen, strict=True)]
        options = {"dataset": plain(drawn), job.stage: plain(generator)}
        with _open_together(job, group, runtime, seed=seed, options=options, inputs=inputs, outside=outside) as run:
            if not run.finished:
                told: dict[str, Any] = {"source": start, "judged": judged_by(seen, train) if seen else None, "group": group}
                told |= {"pipeline": pipeline, "preview": job.machine.preview}
                run_generator(train, generator, run=run, runtime=runtime, seed=seed, **told)
    return RunPath(out)


def judged_by(judges: Sequence[Judge], train: ImageSet) -> Judged:
    """Where the real training images lie in the features of judges, side by side; the judges' weights are frozen."""
    from ltaug.synthesis.select import Real

    for judge in judges:
        judge.model.requires_grad_(False)
    real, device = Real(train, judges), judges[0].runtime.device
    places = (torch.from_numpy(found).to(device) for found in (real.centroids.places, real.widths))
    return Judged(lambda x: torch.cat([judge.embedding(x) for judge in judges], 1), *places)


@contextmanager
def _open_together(job: Job, group: Group, runtime: Runtime, *, outside: Sequence[Outside], **spec: Any) -> Iterator[Run]:
    """Rank 0 opens the run directory; the others get a view of it.

    Raises:
        MismatchError: this process has other options or data than rank 0.
    """
    if group.place.leads:
        with job.open(runtime, **spec, outside=outside, processes=group.place.world) as run:
            group.broadcast(run.record)
            yield run
    else:
        yield follow_run(job.out, group.broadcast({}), stage=job.stage, place=group.place, **spec)
