"""fit-generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ltaug.distributed.group import Group, open_group
from ltaug.fields import plain, resolve
from ltaug.generator.finetune import continued
from ltaug.generator.generate import Generator
from ltaug.generator.stage import run_generator
from ltaug.options import GeneratorOptions, Machine
from ltaug.place import ALONE, Place
from ltaug.runs import Listener, Run, follow_run, ignore_events
from ltaug.runtime import for_fit, make_runtime
from ltaug.stages.opening import (
    Given,
    already_done,
    dataset_options,
    load_data,
    open_stage,
    relative_to,
    side_of,
    source_of,
)


def fit_generator(
    dataset: Given,
    given: Given,
    *,
    out: Path,
    source: Path | None = None,
    seed: int | None = None,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
    place: Place = ALONE,
) -> Path:
    """Fit a diffusion model to the training images; `ltaug fit-generator`.

    Args:
        dataset, given: DatasetOptions and GeneratorOptions by name.
        out: the run directory; an unfinished run of the same options goes on, a finished one is left as it is.
        source: a finished fit-generator run to start from, whose network options are taken; so are its dataset options
            where none is given. Classes are matched by name; its averaged weights are the start, `steps` further ones.
        seed: of the draw and of the training; None takes the source's, or 0.
        wait: seconds to wait for another process's lock on `out`.
        place: of this process among those that fit the generator together, each with this same call. Rank 0 alone reads and
            writes `out`; all of them return when it is finished.

    Raises:
        LtaugError: see errors.py; nothing is overwritten. With several processes, EndedElsewhere in those that have nothing
            to say of why the command ended.
    """
    with open_group(place, device=machine.device) as group:
        runtime = make_runtime(machine.device, threads=machine.threads, place=place)
        dataset, given, seed = continued(source, dataset, given, seed)
        drawn = dataset_options(dataset)
        data = group.first_on_each_machine(partial(load_data, drawn, seed, machine, label or out.name, listener))
        side = side_of(data.train)
        generator = resolve(GeneratorOptions, given, image_side=side, where="fit-generator")
        runtime = for_fit(runtime, machine, image_side=side, steps=generator.steps)
        inputs: dict[str, Any] = {"train": source_of(data.train)}
        start = None if source is None else Generator.load(source, runtime=runtime)
        if start is not None:
            inputs["source"] = {"digest": start.digest, "path": relative_to(start.path, out), "steps": start.steps}
        with _open_together(
            group,
            out,
            "fit-generator",
            label=label,
            seed=seed,
            options={"dataset": plain(drawn), "fit-generator": plain(generator)},
            inputs=inputs,
            runtime=runtime,
            listener=listener,
            log=machine.log,
            wait=wait,
        ) as run:
            if not run.finished:
                run_generator(data.train, generator, run=run, runtime=runtime, seed=seed, source=start, group=group)
    return out


@contextmanager
def _open_together(
    group: Group, out: Path, stage: str, *, seed: int, options: Given, inputs: Given, **others: Any
) -> Iterator[Run]:
    """Rank 0 opens the run directory as `open_stage` does, and checks it if it is finished; the others get a view of it.

    Raises:
        MismatchError: this process has other options or data than rank 0.
        CorruptError: see `already_done`.
    """
    spec: dict[str, Any] = {"seed": seed, "options": options, "inputs": inputs}
    if group.place.leads:
        with open_stage(out, stage, **spec, **others, processes=group.place.world) as run:
            already_done(run)
            group.broadcast(run.record)
            yield run
    else:
        yield follow_run(out, group.broadcast({}), stage=stage, place=group.place, **spec)
