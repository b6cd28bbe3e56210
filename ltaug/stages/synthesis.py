"""synthesize."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltaug.classifier.judge import Judge
from ltaug.data.budgets import parse_budget
from ltaug.fields import plain, resolve
from ltaug.generator.generate import Generator
from ltaug.generator.sampling import Sampling
from ltaug.meeting import wait_for_run
from ltaug.options import Machine, SynthesisOptions, judges_needed
from ltaug.place import ALONE, Place
from ltaug.records import GeneratorRecord
from ltaug.runs import Event, Listener, ignore_events
from ltaug.runtime import for_sampling, make_runtime
from ltaug.stages.classifier import How, train_judge
from ltaug.stages.opening import Given, already_done, load_origin, open_stage, relative_to, side_of, source_of
from ltaug.synthesis.stage import run_synthesis
from ltaug.synthesis.stores import check_url


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
    made, data = load_origin(generator, machine, label, listener)
    seed, real = made.seed if seed is None else seed, data.train
    chosen = _chosen(given, side_of(real), out, place)
    budget = parse_budget(chosen.per_class_budget, class_names=real.class_names, class_counts=real.class_counts)
    passes = Sampling.of(chosen).passes(sum(budget.values()))
    sampling = for_sampling(runtime, machine, image_side=side_of(real), passes=passes)
    if judges is None:
        how: How = {"machine": machine, "listener": listener, "wait": wait}
        judges = [_judge(out, i, made, place, how) for i in range(judges_needed(plain(chosen)))]
    source = Generator.load(generator, runtime=runtime)
    seen = [Judge.load(path, runtime=runtime) for path in judges]
    with open_stage(
        out,
        "synthesize",
        label=label,
        seed=seed,
        options={"dataset": plain(made.dataset), "synthesize": plain(chosen), "budget": budget},
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


def _judge(out: Path, index: int, generator: GeneratorRecord, place: Place, how: How) -> Path:
    """Judge `index` of OUT.judges: trained by the process that leads, waited for by the others."""
    path = out.with_name(f"{out.name}.judges") / f"judge-{index}"
    if place.leads:
        told: How = {**how, "label": path.name}
        return train_judge(plain(generator.dataset), out=path, seed=generator.seed, index=index, **told)
    wait_for_run(path, lambda text: how["listener"](Event(path.name, text)), finished=True)
    return path
