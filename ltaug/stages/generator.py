"""fit-generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from ltaug.distributed.group import Group, open_group
from ltaug.fields import plain, resolve
from ltaug.generator.finetune import continued
from ltaug.generator.generate import Generator
from ltaug.generator.stage import run_generator
from ltaug.options import NETWORK, GeneratorOptions
from ltaug.place import ALONE, Place
from ltaug.runs import Run, follow_run
from ltaug.runtime import Runtime, for_fit
from ltaug.stages.opening import Given, How, Job, dataset_options, side_of, source_of


def fit_generator(
    dataset: Given,
    given: Given,
    *,
    out: Path,
    source: Path | None = None,
    seed: int | None = None,
    place: Place = ALONE,
    **how: Unpack[How],
) -> Path:
    """Fit a diffusion model to the training images; `ltaug fit-generator`.

    Args:
        dataset, given: DatasetOptions and GeneratorOptions by name.
        out: the run directory; an unfinished run of the same options goes on, a finished one is left as it is.
        source: a finished fit-generator run to start from, whose network options are taken; so are its dataset options
            where none is given. Classes are matched by name; its averaged weights are the start, `steps` further ones.
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
    with open_group(place, device=job.machine.device) as group:
        runtime = job.runtime()
        dataset, given, seed = continued(source, dataset, given, seed)
        drawn = dataset_options(dataset)
        train = group.first_on_each_machine(partial(job.load, drawn, seed)).train
        side = side_of(train)
        generator = resolve(GeneratorOptions, given, image_side=side, where=job.stage)
        runtime = for_fit(runtime, job.machine, image_side=side, steps=generator.steps)
        inputs = {"train": source_of(train)}
        start = None if source is None else Generator.load(source, runtime=runtime)
        if start is not None:
            inputs["source"] = {**job.input(start.digest, start.path), "steps": start.steps}
        options = {"dataset": plain(drawn), job.stage: plain(generator)}
        with _open_together(job, group, runtime, seed=seed, options=options, inputs=inputs) as run:
            if not run.finished:
                run_generator(train, generator, run=run, runtime=runtime, seed=seed, source=start, group=group)
    return out


@contextmanager
def _open_together(job: Job, group: Group, runtime: Runtime, **spec: Any) -> Iterator[Run]:
    """Rank 0 opens the run directory; the others get a view of it.

    Raises:
        MismatchError: this process has other options or data than rank 0.
    """
    if group.place.leads:
        with job.open(runtime, **spec, processes=group.place.world) as run:
            group.broadcast(run.record)
            yield run
    else:
        yield follow_run(job.out, group.broadcast({}), stage=job.stage, place=group.place, **spec)
