"""fit-generator and synthesize."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ltaug.classifier.judge import Judge
from ltaug.data.budgets import parse_budget
from ltaug.distributed.group import open_group
from ltaug.fields import resolve
from ltaug.generator.sampling import Sampling
from ltaug.generator.stage import Generator, run_generator
from ltaug.meeting import wait_for_run
from ltaug.options import GeneratorOptions, Machine, SynthesisOptions, judges_needed
from ltaug.place import ALONE, Place
from ltaug.runs import Event, Listener, ignore_events
from ltaug.runtime import for_fit, for_sampling, make_runtime
from ltaug.stages.classification import train_judge
from ltaug.stages.opening import (
    Given,
    already_done,
    continued,
    load_data,
    open_stage,
    open_together,
    plain,
    relative_to,
    side_of,
    source_of,
)
from ltaug.stages.origin import load_origin
from ltaug.synthesis.stage import run_synthesis
from ltaug.synthesis.stores import check_url


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
        options, data = group.first_on_each_machine(partial(load_data, dataset, seed, machine, label or out.name, listener))
        side = side_of(data.train)
        generator = resolve(GeneratorOptions, given, image_side=side, where="fit-generator")
        runtime = for_fit(runtime, machine, image_side=side, steps=generator.steps)
        inputs: dict[str, Any] = {"train": source_of(data.train)}
        start = None if source is None else Generator.load(source, runtime=runtime)
        if start is not None:
            inputs["source"] = {"digest": start.digest, "path": relative_to(start.path, out), "steps": start.steps}
        with open_together(
            group,
            out,
            "fit-generator",
            label=label,
            seed=seed,
            options={"dataset": options, "fit-generator": plain(generator)},
            inputs=inputs,
            runtime=runtime,
            listener=listener,
            log=machine.log,
            wait=wait,
        ) as run:
            if not run.finished:
                run_generator(data.train, generator, run=run, runtime=runtime, seed=seed, source=start, group=group)
    return out


def synthesize(
    generator: Path,
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    judges: Sequence[Path] | None = None,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
    place: Place = ALONE,
) -> Path:
    """Generate images up to a per-class budget and keep those that pass the selection; `ltaug synthesize`.

    Args:
        generator: a finished fit-generator run; its dataset and draw are the real images here.
        given: SynthesisOptions by name.
        seed: of the images; None takes the generator's.
        judges: classifier runs on the real set, for selection. None trains them beside `out`, in OUT.judges, if
            selection asks for them.
        place: of this process among those that make the set together, all called with the same arguments. They meet in
            the files of `out`; each may end and be started again by itself.
    """
    runtime = make_runtime(machine.device, threads=machine.threads, place=place)
    label = label or out.name
    made, options, data = load_origin(generator, machine, label, listener)
    draw_seed, real = made["seed"], data.train
    seed = draw_seed if seed is None else seed
    chosen = _chosen(given, side_of(real), out, place)
    budget = parse_budget(chosen.per_class_budget, class_names=real.class_names, class_counts=real.class_counts)
    passes = Sampling.of(chosen).passes(sum(budget.values()))
    sampling = for_sampling(runtime, machine, image_side=side_of(real), passes=passes)
    if judges is None:
        shared = {"seed": draw_seed, "machine": machine, "listener": listener, "wait": wait}
        judges = [_judge(out, i, options, place, **shared) for i in range(judges_needed(plain(chosen)))]
    source = Generator.load(generator, runtime=runtime)
    seen = [Judge.load(path, runtime=runtime) for path in judges]
    with open_stage(
        out,
        "synthesize",
        label=label,
        seed=seed,
        options={"dataset": options, "synthesize": plain(chosen), "budget": budget},
        inputs={
            "train": source_of(real),
            "generator": {"digest": source.digest, "path": relative_to(generator, out)},
            "judges": [{"digest": j.digest, "path": relative_to(p, out)} for p, j in zip(judges, seen, strict=True)],
        },
        runtime=sampling,
        listener=listener,
        log=machine.log,
        wait=wait,
        place=place,
    ) as run:
        if not already_done(run):
            run_synthesis(source, real, seen, chosen, budget=budget, run=run, runtime=sampling, seed=seed)
    return out


def _chosen(given: Given, image_side: int, out: Path, place: Place) -> SynthesisOptions:
    """The options; what is wrong with them is said here, before judges are trained."""
    chosen = resolve(SynthesisOptions, given, image_side=image_side, where="synthesize")
    if place.leads:
        check_url(chosen.images_to, out)
    return chosen


def _judge(out: Path, index: int, dataset: Given, place: Place, *, listener: Listener, **training: Any) -> Path:
    """Judge `index` of OUT.judges: trained by the process that leads, waited for by the others."""
    path = out.with_name(f"{out.name}.judges") / f"judge-{index}"
    if place.leads:
        return train_judge(dataset, out=path, index=index, label=path.name, listener=listener, **training)
    wait_for_run(path, lambda text: listener(Event(path.name, text)), finished=True)
    return path
