"""The synthesize stage: candidates are generated in rounds, judged, kept until the budget is met, by any number of processes.

Which candidates a round has depends only on what earlier rounds kept. Each of W processes makes every W-th of them, publishes
its rows and waits for those of the others. Then all know what is kept, and each writes the kept images that it made.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ltaug.data.imageset import ImageSet
from ltaug.data.remote import is_url
from ltaug.data.shards import SHARDS_FILE, Shard, shards_to_csv
from ltaug.data.sheet import contact_sheet
from ltaug.disk import require_space
from ltaug.errors import BudgetError, MismatchError
from ltaug.fields import settings_of
from ltaug.files import write_bytes
from ltaug.generator.generate import Generator, Key, open_generated
from ltaug.generator.steering import Guide, Start
from ltaug.manifest import KEPT, Row, read_kept, remember_images, rows_to_csv
from ltaug.methods import CRITERIA, RULES, STARTS
from ltaug.options import SynthesisOptions
from ltaug.records import MANIFEST_FILE
from ltaug.runs import Run, read_run
from ltaug.runtime import Runtime
from ltaug.synthesis.candidates import Tally, Workshop, gathered
from ltaug.synthesis.course import Course, join, settle
from ltaug.synthesis.guidance import criterion_of, with_chosen_guidance
from ltaug.synthesis.rounds import MARK, Part, Rounds
from ltaug.synthesis.select import Judge, Selection, fit_selection
from ltaug.synthesis.starts import starts_for
from ltaug.synthesis.stores import RoundWriter, claim_url, open_store

SHEET = "contact-sheet.png"
SHEET_COLUMNS = 16


def run_synthesis(
    generator: Generator,
    train: ImageSet,
    judges: Sequence[Judge],
    options: SynthesisOptions,
    *,
    budget: Mapping[str, int],
    run: Run,
    runtime: Runtime,
    seed: int,
) -> None:
    """Fill `run` with images, manifest.csv and contact-sheet.png, and finish it, or do this process's share (run.place).

    An interrupted process resumes at its first incomplete part. The images depend neither on interruptions nor on the number
    of processes.

    Args:
        train: the real training set, on which selection is fitted.
        budget: images wanted per class name.

    Raises:
        MismatchError: generator, judges and real set differ in their classes or in the shape of images.
        ResourceError: the disk has too little space for the images.
        BudgetError: not one image passed the selection.
        DataError: the URL for the images belongs to another run or cannot be written.
        RunExistsError: processes of an earlier start, with another number of them, are still at work.
    """
    _require_fitting(generator, train, judges)
    selection = fit_selection(train, judges, rules_of(options))
    tally = Tally([budget.get(name, 0) for name in train.class_names], options.max_candidates)
    share = math.ceil(sum(tally.wanted) / run.place.world)
    starts = starts_for(options.start, selection.real, tally.wanted, seed=seed) if options.start in STARTS else None
    how: dict[str, Any] = {"start": starts and Start(images=starts, strength=options.strength)}
    if options.guide in CRITERIA:
        criterion = criterion_of(options.guide, judges)
        how["guide"] = Guide(criterion=criterion, scale=options.guide_scale, every=options.guide_every)
    joined = None if run.place.leads else join(run)
    if not (run.place.leads or joined):
        return
    generated = open_generated(generator, options, share, seed=seed, runtime=runtime, tell=run.event, **how)
    if options.choose_guidance:
        generated = with_chosen_guidance(generated, selection.real, options.choose_guidance, run=run)
    store, rounds = open_store(options.images_to, run.path, train.class_names), Rounds(run.path)
    workshop = Workshop(generated, selection, store, rounds, train.class_names, starts)
    if joined:
        _make(workshop, joined, tally, run=run)
        return
    claim_url(options.images_to, run)
    if not rounds.numbers() and not is_url(options.images_to):
        # PNG takes more than half of the pixels' bytes for noise alone.
        require_space(run.path, sum(tally.wanted) * train.images[0].nbytes // 2)
    started, course = time.monotonic(), settle(run, rounds, store, batch=generated.batch.size)
    rows = _make(workshop, course, tally, run=run)
    shards = _written(course, rounds, run=run)
    store.tidy()
    run.timing("synthesize", time.monotonic() - started)
    run.note(sample_batch=generated.batch.size)
    _finish(rows, shards, tally, selection, train, run=run)
    rounds.remove()


def rules_of(options: SynthesisOptions) -> dict[str, dict[str, Any]]:
    """The settings of each selection rule that is switched on; how many judges to train is none of them.

    A rule whose own option is more than a switch gets its value under the option's name.
    """
    chosen = {rule: value for rule in RULES if (value := getattr(options, rule))}
    own = {rule: {} if value is True else {rule: value} for rule, value in chosen.items()}
    more = {rule: settings_of(options, rule, rule) for rule in chosen}
    return {rule: own[rule] | {name: value for name, value in more[rule].items() if name != "judges"} for rule in chosen}


def _require_fitting(generator: Generator, train: ImageSet, judges: Sequence[Judge]) -> None:
    train.require_same_classes(generator.class_names, what="the generator")
    for judge in judges:
        train.require_same_classes(judge.class_names, what="a judge")
    if generator.image_shape != train.image_shape:
        raise MismatchError(
            f"the generator makes images of {generator.image_shape} and {train.source} has {train.image_shape} "
            "(channels, height, width); use the --image-size it was fitted with"
        )


def _make(workshop: Workshop, course: Course, tally: Tally, *, run: Run) -> list[Row]:
    """Make this process's part of every round until the tally is full; the rows that count, if this process leads."""
    place, rounds, rows = run.place, workshop.rounds, list[Row]()
    with RoundWriter(workshop.store, rounds) as writer:
        for number in itertools.count():
            parts = course.parts(number)
            keys = tally.next_round(parts[0].size)
            if not keys:
                break
            mine = parts[place.rank] if course.under_way(number) else None
            made = None if mine is None or not rounds.without(MARK, [mine]) else workshop.make(mine, place.share(keys))
            found = _found(workshop, parts, keys, run=run)
            if found is None:
                break
            counts = tally.count(keys, [row.verdict for row in found])
            if mine is not None and made is not None:
                own = zip(place.share(found), place.share(counts), made, strict=True)
                kept = [(row, image) for row, counted, image in own if counted and row.verdict == KEPT]
                writer.put(mine, [row for row, _ in kept], [image for _, image in kept])
            if place.leads:
                rows += itertools.compress(found, counts)
            run.event("synthesizing", sum(tally.kept), sum(tally.wanted), candidates=sum(tally.candidates))
    return rows


def _found(workshop: Workshop, parts: Sequence[Part], keys: Sequence[Key], *, run: Run) -> list[Row] | None:
    """Wait for the rows of a round; None if rank 0 has finished the run while this process caught up."""
    rounds = workshop.rounds
    try:
        if rounds.wait_for_rows(parts, run.event, lambda: _over(run)):
            return gathered(parts, rounds, keys, workshop.class_names)
    except FileNotFoundError:
        if not _over(run):
            raise
    rounds.remove()  # which this process has written since
    return None


def _over(run: Run) -> bool:
    """Whether another process, which leads, has finished the run."""
    return not run.place.leads and bool(read_run(run.path)["status"] == "finished")


def _written(course: Course, rounds: Rounds, *, run: Run) -> list[Shard]:
    """Wait until all processes have written their images; the shards of all rounds, if images go to shards."""
    shards = []
    for number in rounds.numbers():
        parts = course.parts(number)
        rounds.wait_for_markers(parts, run.event)
        shards += [shard for shard in map(rounds.shard, parts) if shard is not None]
    return shards


def _rejected(rows: Sequence[Row]) -> dict[str, int]:
    """How many candidates were rejected, by verdict."""
    return dict(sorted(Counter(row.verdict for row in rows if row.verdict != KEPT).items()))


def _finish(rows: list[Row], shards: list[Shard], tally: Tally, selection: Selection, train: ImageSet, *, run: Run) -> None:
    """Write manifest, list of shards and contact sheet, record what happened, say which classes fell short."""
    names = train.class_names
    if not any(tally.kept):
        rules = ", ".join(f"--{rule.replace('_', '-')}" for rule in selection.rules)
        said = ", ".join(f"{number} {verdict}" for verdict, number in _rejected(rows).items())
        raise BudgetError(
            f"none of {sum(tally.candidates)} candidates passed the selection ({rules}): {said}; "
            "fit the generator longer, widen or drop a rule or raise --max-candidates, with another --out"
        )
    short = {names[c]: w - k for c, (w, k) in enumerate(zip(tally.wanted, tally.kept, strict=True)) if k < w}
    rows = sorted(rows, key=lambda row: (names.index(row.class_), row.index))
    write_bytes(run.path / MANIFEST_FILE, rows_to_csv(rows, header=True))
    if shards:
        write_bytes(run.path / SHARDS_FILE, shards_to_csv(shards))
    _save_sheet(rows, train, run=run)
    run.note(
        class_names=names,
        image_shape=train.image_shape,
        wanted=dict(zip(names, tally.wanted, strict=True)),
        kept=dict(zip(names, tally.kept, strict=True)),
        candidates=dict(zip(names, tally.candidates, strict=True)),
        rejected=_rejected(rows),
        shortfall=short,
        real_nearest=selection.real.neighbours.quantiles,
    )
    if short:
        shown = ", ".join(f"{n} by {k}" for n, k in list(short.items())[:5])
        shown += "" if len(short) <= 5 else f" and {len(short) - 5} more"
        run.event(f"Short of the budget after {tally.limit} candidates per image: {shown}. Raise --max-candidates for more.")
    remember_images(run.path)
    run.finish([MANIFEST_FILE, SHEET, *([SHARDS_FILE] if shards else [])])


def _save_sheet(rows: list[Row], train: ImageSet, *, run: Run) -> None:
    """The first kept images of every class, a row a class."""
    kept = {name: [row for row in rows if row.class_ == name and row.verdict == KEPT] for name in train.class_names}
    shown = [row for mine in kept.values() for row in mine[:SHEET_COLUMNS]]
    images = read_kept(run.path, shown, shape=train.image_shape)
    ends = np.cumsum([min(len(mine), SHEET_COLUMNS) for mine in kept.values()])
    write_bytes(run.path / SHEET, contact_sheet([sheet for sheet in np.split(images, ends[:-1]) if len(sheet)]))
