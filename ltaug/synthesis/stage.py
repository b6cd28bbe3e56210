"""The synthesize stage: candidates are made in parts, here or elsewhere; of every class the first that pass are kept.

Parts may be made in any order, by any process, at any time. What is kept depends on none of this.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ltaug.data.imageset import ImageSet
from ltaug.data.remote import is_url
from ltaug.data.shards import SHARDS_FILE, shards_to_csv
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
from ltaug.runs import Listener, Run
from ltaug.runtime import Runtime
from ltaug.synthesis.candidates import Share, Tally, Workshop, verdicts
from ltaug.synthesis.guidance import criterion_of
from ltaug.synthesis.parts import FOLDER, read_parts, remove_parts
from ltaug.synthesis.select import Judge, Selection, fit_selection
from ltaug.synthesis.starts import starts_for
from ltaug.synthesis.stores import claim_url, write_kept
from ltaug.synthesis.withdrawal import read_withdrawal

SHEET = "contact-sheet.png"
SHEET_COLUMNS = 16


class Hands(Protocol):
    """Others that make parts of a synthesis: `slots` of at most `size` candidates may be under way at a time."""

    @property
    def slots(self) -> int: ...

    @property
    def size(self) -> int: ...

    def submit(self, keys: Sequence[Key]) -> Future[list[Row]]:
        """Let a part be made; its rows, once it is on the disk."""
        ...


Hire = Callable[[Listener], AbstractContextManager[Hands]]  # hands until the end of the context, and who hears of their messages


def open_workshop(
    generator: Generator,
    train: ImageSet,
    judges: Sequence[Judge],
    options: SynthesisOptions,
    *,
    wanted: Sequence[int],
    images: int,
    runtime: Runtime,
    seed: int,
    tell: Callable[[str], None],
) -> Workshop:
    """Ready to make candidates.

    Args:
        train: the real training set, on which selection is fitted.
        wanted: kept images of every class.
        images: to be made here in all.

    Raises:
        MismatchError: generator, judges and real set differ in their classes or in the shape of images.
        OptionError: --withdraw names what cannot be there.
    """
    _require_fitting(generator, train, judges)
    withdrawal = read_withdrawal(options.withdraw)
    withdrawal.require_known(train.class_names, len(train))
    selection = fit_selection(train, judges, rules_of(options))
    starts = starts_for(options.start, selection.real, list(wanted), seed=seed) if options.start in STARTS else None
    how: dict[str, Any] = {"start": starts and Start(images=starts, strength=options.strength)}
    if options.guide in CRITERIA:
        criterion = criterion_of(options.guide, judges)
        how["guide"] = Guide(criterion=criterion, scale=options.guide_scale, every=options.guide_every)
    generated = open_generated(generator, options, images, seed=seed, runtime=runtime, tell=tell, **how)
    return Workshop(generated, selection, train.class_names, starts, withdrawal)


def run_synthesis(
    workshop: Workshop, options: SynthesisOptions, *, budget: Mapping[str, int], run: Run, hire: Hire | None = None
) -> None:
    """Fill `run` with images, manifest.csv and contact-sheet.png, and finish it; parts that are there are not made again.

    Args:
        budget: images wanted per class name.
        hire: whom to let make the parts; None makes them here.

    Raises:
        ResourceError: the disk has too little space for the images.
        BudgetError: not one image passed the selection.
        CorruptError: a part is damaged.
        DataError: the URL for the images belongs to another run or cannot be written.
    """
    names, train = workshop.class_names, workshop.selection.real.images
    tally = Tally([budget.get(name, 0) for name in names], options.max_candidates)
    claim_url(options.images_to, run)
    if not (run.path / FOLDER).is_dir():
        # PNG takes more than half of the pixels' bytes for noise alone; at the end images are in parts and in their place.
        require_space(run.path, sum(tally.wanted) * train.images[0].nbytes // (2 if is_url(options.images_to) else 1))
    with hire(run.listener) if hire else nullcontext(Alone(workshop, run.path)) as hands:
        make_parts(tally, hands, run=run.path, class_names=names, tell=run.event)
    run.note(sample_batch=workshop.generated.batch.size)
    _finish(workshop.selection, tally.wanted, options, train, run=run)
    remove_parts(run.path)


@dataclasses.dataclass(frozen=True)
class Alone:
    """Hands of this process itself."""

    workshop: Workshop
    run: Path
    slots: int = 1

    @property
    def size(self) -> int:
        return self.workshop.generated.batch.size

    def submit(self, keys: Sequence[Key]) -> Future[list[Row]]:
        done: Future[list[Row]] = Future()
        done.set_result(self.workshop.make(self.run, keys))
        return done


def make_parts(
    tally: Tally,
    hands: Hands,
    *,
    run: Path,
    class_names: Sequence[str],
    tell: Callable[..., None],
    share: Share = Share(),  # noqa: B008
) -> None:
    """Have parts made until the tally is full; it counts those that are there, and the candidates of `share` alone.

    Args:
        tell: hears of progress as Run.event does.
    """
    for part in read_parts(run):
        tally.add(verdicts(part.rows, class_names, share))
    under_way: set[Future[list[Row]]] = set()
    while True:
        while len(under_way) < hands.slots and (keys := tally.next(hands.size)):
            under_way.add(hands.submit([share.whole(key) for key in keys]))
        if not under_way:
            return
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        for made in done:
            tally.add(verdicts(made.result(), class_names, share))
        tell("synthesizing", sum(tally.kept), sum(tally.wanted), candidates=sum(tally.candidates))


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


def _finish(selection: Selection, wanted: list[int], options: SynthesisOptions, train: ImageSet, *, run: Run) -> None:
    """Write images, manifest, list of shards and contact sheet, record what happened, say which classes fell short."""
    names, began = train.class_names, time.monotonic()
    tally = Tally(wanted, options.max_candidates)
    counted, took = _counted(tally, names, run.path)
    rejected = [row for row, _ in counted if row.verdict != KEPT]
    if not any(tally.kept):
        rules = ", ".join(f"--{rule.replace('_', '-')}" for rule in selection.rules)
        said = ", ".join(f"{number} {verdict}" for verdict, number in _by_verdict(rejected).items())
        raise BudgetError(
            f"none of {sum(tally.candidates)} candidates passed the selection ({rules}): {said}; "
            "fit the generator longer, widen or drop a rule or raise --max-candidates, with another --out"
        )
    passed = [one for one in counted if one[0].verdict == KEPT]
    kept, shards = write_kept(passed, options.images_to, run.path, names, run.event)
    rows = sorted([*kept, *rejected], key=lambda row: (names.index(row.class_), row.index))
    write_bytes(run.path / MANIFEST_FILE, rows_to_csv(rows))
    if shards:
        write_bytes(run.path / SHARDS_FILE, shards_to_csv(shards))
    _save_sheet(rows, train, run=run)
    run.timing("synthesize", took + time.monotonic() - began)
    short = {names[c]: w - k for c, (w, k) in enumerate(zip(tally.wanted, tally.kept, strict=True)) if k < w}
    run.note(
        class_names=names,
        image_shape=train.image_shape,
        wanted=dict(zip(names, tally.wanted, strict=True)),
        kept=dict(zip(names, tally.kept, strict=True)),
        candidates=dict(zip(names, tally.candidates, strict=True)),
        rejected=_by_verdict(rejected),
        shortfall=short,
        real_nearest=selection.real.neighbours.quantiles,
    )
    if short:
        shown = ", ".join(f"{n} by {k}" for n, k in list(short.items())[:5])
        shown += "" if len(short) <= 5 else f" and {len(short) - 5} more"
        run.event(f"Short of the budget after {tally.limit} candidates per image: {shown}. Raise --max-candidates for more.")
    remember_images(run.path)
    run.finish([MANIFEST_FILE, SHEET, *([SHARDS_FILE] if shards else [])])


def _counted(tally: Tally, class_names: Sequence[str], run: Path) -> tuple[list[tuple[Row, Path]], float]:
    """Count all candidates: the rows of those that count, each with the part that it is in, and the seconds that all parts took.

    Where another process made a candidate again meanwhile, one part is taken at its word for it.
    """
    place, seconds = {name: c for c, name in enumerate(class_names)}, 0.0
    found: dict[Key, tuple[Row, Path]] = {}
    for part in read_parts(run):
        seconds += part.seconds
        for row in part.rows:
            found.setdefault((place[row.class_], row.index), (row, part.path))
    tally.add((key, row.verdict == KEPT) for key, (row, _) in found.items())
    return [one for (c, index), one in found.items() if index < tally.candidates[c]], seconds


def _by_verdict(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows have each verdict."""
    return dict(sorted(Counter(row.verdict for row in rows).items()))


def _save_sheet(rows: list[Row], train: ImageSet, *, run: Run) -> None:
    """The first kept images of every class, a row a class."""
    kept = {name: [row for row in rows if row.class_ == name and row.verdict == KEPT] for name in train.class_names}
    shown = [row for mine in kept.values() for row in mine[:SHEET_COLUMNS]]
    images = read_kept(run.path, shown, shape=train.image_shape)
    ends = np.cumsum([min(len(mine), SHEET_COLUMNS) for mine in kept.values()])
    write_bytes(run.path / SHEET, contact_sheet([sheet for sheet in np.split(images, ends[:-1]) if len(sheet)]))
