"""synthesize, whole or a share of its parts; and one part of it, for the process that drives it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from ltaug.data.budgets import parse_budget
from ltaug.errors import OptionError
from ltaug.fields import plain, resolve
from ltaug.files import file_digest
from ltaug.generator.generate import Generator, Key
from ltaug.generator.sampling import Sampling
from ltaug.machine import Machine
from ltaug.manifest import Row, verify_images
from ltaug.options import SynthesisOptions, judges_needed
from ltaug.records import SynthesisRecord
from ltaug.runs import LOCK_FILE, Run, locked, read_run
from ltaug.runtime import for_sampling
from ltaug.stages.classifier import load_judges, outside_of, trained_judge
from ltaug.stages.made import RunPath
from ltaug.stages.opening import Given, How, Job, side_of, source_of
from ltaug.synthesis.candidates import Share, Tally, Workshop
from ltaug.synthesis.guidance import choose_guidance, with_chosen_guidance
from ltaug.synthesis.parts import FOLDER, remove_parts
from ltaug.synthesis.stage import Alone, Hire, make_parts, open_workshop, run_synthesis
from ltaug.synthesis.stores import check_url

PATIENCE = 86400.0  # seconds that a share waits while another process opens the run or trains its judges


def synthesize(
    generator: Path,
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    judges: Sequence[Path] | None = None,
    part: tuple[int, int] | None = None,
    hire: Hire | None = None,
    **how: Unpack[How],
) -> RunPath:
    """Generate images up to a per-class budget and keep those that pass the selection; `ltaug synthesize`.

    Args:
        generator: a finished fit-generator run; its dataset and draw are the real images here.
        given: SynthesisOptions by name.
        seed: of the images; None takes the generator's.
        judges: classifier runs on the real set. None trains them beside `out`, in OUT.judges, if an option asks for them
            (options.asking_judges).
        part: (i, n) makes the i-th of n shares of the candidates and leaves the run unfinished. Shares may be made at any
            time and anywhere that sees `out`; a call without `part` makes what is missing and finishes the run.
        hire: whom to let make its parts (by `make_part`); None makes them here.
        how: machine, label, listener and wait (stages.opening.How).

    Raises:
        OptionError: `part` is not a number from 1 to n, and n.
        RunExistsError: another process makes this share or, without `part`, any.
    """
    if part is not None and not 1 <= part[0] <= part[1]:
        raise OptionError(f"--part {part[0]}/{part[1]} is no share; the first number must be from 1 to the second")
    job = Job("synthesize", out, **how)
    if part is not None:
        job = dataclasses.replace(job, wait=max(job.wait, PATIENCE))
    job.check(given)
    runtime = job.runtime()
    made, data = job.load_origin(generator)
    seed, real = made.seed if seed is None else seed, data.train
    # What is wrong with the options is said here, before judges are trained.
    chosen = resolve(SynthesisOptions, given, image_side=side_of(real), where=job.stage)
    check_url(chosen.images_to, out)
    budget = parse_budget(chosen.per_class_budget, class_names=real.class_names, class_counts=real.class_counts)
    wanted = [budget.get(name, 0) for name in real.class_names]
    sampling = for_sampling(runtime, job.machine, image_side=side_of(real), passes=Sampling.of(chosen).passes(sum(wanted)))
    if judges is None:
        judges = [trained_judge(job, i, plain(made.dataset), seed=made.seed) for i in range(judges_needed(plain(chosen)))]
    source = Generator.load(generator, runtime=runtime)
    seen = load_judges(judges, real, runtime=runtime)
    spec: dict[str, Any] = {
        "seed": seed,
        "options": {"dataset": plain(made.dataset), job.stage: plain(chosen), "budget": budget},
        "inputs": {
            "train": source_of(real),
            "generator": job.input(source.digest, generator),
            "judges": [job.input(judge.digest, path) for path, judge in zip(judges, seen, strict=True)],
            **({"withdraw": job.input(file_digest(Path(chosen.withdraw)), Path(chosen.withdraw))} if chosen.withdraw else {}),
        },
        "outside": [*made.outside, *outside_of(judges, "judge")],
        "verify": partial(verify_images, always=job.machine.verify),
    }
    ready = partial(open_workshop, source, real, seen, chosen, wanted=wanted, runtime=sampling, seed=seed)
    _make(job, job.open(sampling, **spec), ready, chosen, budget=budget, part=part, hire=hire)
    return RunPath(out)


def _make(
    job: Job,
    opened: AbstractContextManager[Run],
    ready: Callable[..., Workshop],
    options: SynthesisOptions,
    *,
    budget: Mapping[str, int],
    part: tuple[int, int] | None,
    hire: Hire | None,
) -> None:
    """Make a share of the synthesis, once the run is closed again; or all that is missing, and finish the run."""
    share = Share() if part is None else Share(part[0] - 1, part[1])
    with ExitStack() as held:
        with opened as run:
            if run.finished:
                remove_parts(job.out)  # a kill between the run's end and this leaves them
                return
            tell = run.event if part is None else job.tell
            workshop = ready(images=sum(map(share.of, budget.values())), tell=tell)
            if strengths := options.choose_guidance:
                guided = choose_guidance(workshop.generated, workshop.selection.real, strengths, run=run)
                workshop = dataclasses.replace(workshop, generated=guided)
            for lock in _locks(job.out, part):
                held.enter_context(lock)
            if part is None:
                run_synthesis(workshop, options, budget=budget, run=run, hire=hire)
                return
        names = workshop.class_names
        own = Tally([share.of(budget.get(name, 0)) for name in names], options.max_candidates)
        make_parts(own, Alone(workshop, job.out), run=job.out, class_names=names, tell=tell, share=share)


def _locks(out: Path, part: tuple[int, int] | None) -> list[AbstractContextManager[None]]:
    """What the process that makes a share holds, or that which finishes the run: the locks of all shares."""
    if part is None:
        left = {lock: lock.name.removeprefix(f"{LOCK_FILE}-").replace("-of-", "/") for lock in out.glob(f"{LOCK_FILE}-*")}
        return [locked(lock, f"--part {share} of {out} is still at work; wait for it or stop it") for lock, share in left.items()]
    (out / FOLDER).mkdir(exist_ok=True)
    taken = f"--part {part[0]}/{part[1]} of {out} is at work already; wait for it or stop it"
    return [locked(out / f"{LOCK_FILE}-{part[0]}-of-{part[1]}", taken)]


def make_part(out: Path, keys: Sequence[Key], *, size: int, **how: Unpack[How]) -> list[Row]:
    """Make some candidates, (class, index) each, of the synthesis that another process drives in `out`; their rows.

    Args:
        size: candidates of a part at most.
    """
    job = Job("synthesize", out, **how)
    made_as = {key: value for key, value in read_run(out).items() if key in ("seed", "options", "inputs", "facts")}
    workshop = _workshop(job.out, job.machine, size, repr(made_as))
    workshop.generated.batch.tell = job.tell
    return workshop.make(out, keys)


@functools.lru_cache(maxsize=1)
def _workshop(out: Path, machine: Machine, size: int, made_as: str) -> Workshop:
    """The workshop of a synthesis under way, kept for its next part."""
    job, record = Job("synthesize", out, machine=machine), SynthesisRecord.read(out)
    runtime, facts = job.runtime(), read_run(out)
    assert record.generator_run.path is not None
    real, options = job.load_origin(record.generator_run.path)[1].train, record.options
    wanted = [facts["options"]["budget"].get(name, 0) for name in real.class_names]
    passes = Sampling.of(options).passes(sum(wanted))
    asked: dict[str, Any] = {"wanted": wanted, "images": size, "seed": record.seed, "tell": job.tell}
    asked["runtime"] = for_sampling(runtime, machine, image_side=side_of(real), passes=passes)
    judges = load_judges([one.path for one in record.judge_runs if one.path is not None], real, runtime=runtime)
    workshop = open_workshop(Generator.load(record.generator_run.path, runtime=runtime), real, judges, options, **asked)
    return dataclasses.replace(workshop, generated=with_chosen_guidance(workshop.generated, facts["facts"]))
