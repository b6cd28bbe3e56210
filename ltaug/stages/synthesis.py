"""synthesize."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

from ltaug.data.budgets import parse_budget
from ltaug.fields import plain, resolve
from ltaug.generator.generate import Generator
from ltaug.generator.sampling import Sampling
from ltaug.manifest import verify_images
from ltaug.options import SynthesisOptions, judges_needed
from ltaug.place import ALONE, Place
from ltaug.runtime import for_sampling
from ltaug.stages.classifier import load_judges, outside_of, trained_judge
from ltaug.stages.made import RunPath
from ltaug.stages.opening import Given, How, Job, side_of, source_of
from ltaug.synthesis.rounds import Rounds
from ltaug.synthesis.stage import run_synthesis
from ltaug.synthesis.stores import check_url


def synthesize(
    generator: Path,
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    judges: Sequence[Path] | None = None,
    place: Place = ALONE,
    **how: Unpack[How],
) -> RunPath:
    """Generate images up to a per-class budget and keep those that pass the selection; `ltaug synthesize`.

    Args:
        generator: a finished fit-generator run; its dataset and draw are the real images here.
        given: SynthesisOptions by name.
        seed: of the images; None takes the generator's.
        judges: classifier runs on the real set. None trains them beside `out`, in OUT.judges, if an option asks for them
            (options.asking_judges).
        place: of this process among those that make the set together, all called with the same arguments. They meet in
            the files of `out`; each may end and be started again by itself.
        how: machine, label, listener and wait (stages.opening.How).
    """
    job = Job("synthesize", out, place, **how)
    job.check(given)
    runtime = job.runtime()
    made, data = job.load_origin(generator)
    seed, real = made.seed if seed is None else seed, data.train
    # What is wrong with the options is said here, before judges are trained.
    chosen = resolve(SynthesisOptions, given, image_side=side_of(real), where=job.stage)
    if place.leads:
        check_url(chosen.images_to, out)
    budget = parse_budget(chosen.per_class_budget, class_names=real.class_names, class_counts=real.class_counts)
    passes = Sampling.of(chosen).passes(sum(budget.values()))
    sampling = for_sampling(runtime, job.machine, image_side=side_of(real), passes=passes)
    if judges is None:
        judges = [trained_judge(job, i, plain(made.dataset), seed=made.seed) for i in range(judges_needed(plain(chosen)))]
    source = Generator.load(generator, runtime=runtime)
    seen = load_judges(judges, real, runtime=runtime)
    with job.open(
        sampling,
        seed=seed,
        options={"dataset": plain(made.dataset), job.stage: plain(chosen), "budget": budget},
        inputs={
            "train": source_of(real),
            "generator": job.input(source.digest, generator),
            "judges": [job.input(judge.digest, path) for path, judge in zip(judges, seen, strict=True)],
        },
        outside=[*made.outside, *outside_of(judges, "judge")],
        verify=partial(verify_images, always=job.machine.verify),
    ) as run:
        if not run.finished:
            run_synthesis(source, real, seen, chosen, budget=budget, run=run, runtime=sampling, seed=seed)
        elif run.place.leads:
            Rounds(run.path).remove()  # a kill between the run's end and this leaves them
    return RunPath(out)
