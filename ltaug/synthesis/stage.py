"""The synthesize stage: candidates are generated in rounds, judged, kept until the budget is met, and journalled."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ltaug.data.imageset import Images, ImageSet
from ltaug.data.sheet import contact_sheet
from ltaug.errors import BudgetError, MismatchError
from ltaug.generator.generate import Key
from ltaug.generator.sampling import open_source
from ltaug.generator.stage import Generator
from ltaug.options import SynthesisOptions
from ltaug.runs import Run, atomic_write
from ltaug.runtime import Runtime
from ltaug.synthesis.manifest import (
    MANIFEST_FILE,
    Row,
    csv_to_rows,
    image_file,
    read_image,
    write_manifest,
)
from ltaug.synthesis.select import KEPT, Judge, Selection, band_of, fit_selection
from ltaug.synthesis.writing import JOURNAL, RoundWriter

SHEET = "contact-sheet.png"
SHEET_COLUMNS = 16
QUANTILES = {"q01": 0.01, "q05": 0.05, "median": 0.5}  # of the distances from real images to their nearest other one


@dataclass
class Tally:
    """How far each class is: images wanted, candidates judged, images kept. Indexed by class."""

    wanted: list[int]
    limit: int
    candidates: list[int] = field(init=False)
    kept: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.candidates = [0] * len(self.wanted)
        self.kept = [0] * len(self.wanted)

    def open(self, c: int) -> bool:
        """Whether class c still needs images and may have more candidates."""
        return self.kept[c] < self.wanted[c] and self.candidates[c] < self.wanted[c] * self.limit

    def next_round(self, size: int) -> list[Key]:
        """The next candidates: for each open class as many as its acceptance so far makes likely to suffice.

        Where that is fewer than `size`, each class has proportionally more: a batch is computed whole in any case.
        """
        likely: dict[int, int] = {}
        for c in filter(self.open, range(len(self.wanted))):
            acceptance = (self.kept[c] + 1) / (self.candidates[c] + 1)
            likely[c] = int(np.ceil((self.wanted[c] - self.kept[c]) / acceptance))
        scale = max(1.0, size / max(1, sum(likely.values())))
        keys: list[Key] = []
        for c, number in likely.items():
            count = min(int(number * scale), self.wanted[c] * self.limit - self.candidates[c], size - len(keys))
            keys += [(c, self.candidates[c] + i) for i in range(count)]
        return keys

    def add(self, c: int, verdict: str) -> None:
        self.candidates[c] += 1
        self.kept[c] += verdict == KEPT


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
    """Fill `run` with images/CLASS/*.png, manifest.csv and contact-sheet.png, and finish it.

    An interrupted run goes on after its last complete round; the images are the same as without the interruption.

    Args:
        train: the real training set, which selection is fitted on.
        budget: images wanted per class name.

    Raises:
        MismatchError: generator, judges and real set have other classes or images of another shape.
        BudgetError: not one image passed the selection.
    """
    _require_fitting(generator, train, judges)
    selection = fit_selection(
        train,
        judges,
        agreement=options.select_agreement,
        distance=options.select_distance,
        drop_copies=options.drop_copies,
        band=band_of(options.band),
    )
    tally = Tally([budget.get(name, 0) for name in train.class_names], options.max_candidates)
    rows = _journalled(run.path / JOURNAL, train, tally)
    started, total = time.monotonic(), sum(tally.wanted)
    source = open_source(generator, options, total, seed=seed, runtime=runtime, tell=run.event)
    with RoundWriter(run.path) as writer:
        while keys := tally.next_round(source.batch.size):
            new = _judged(source(keys), keys, selection, tally, train, generator, options, seed=seed)
            writer.put([row for row, _ in new], [image for _, image in new])
            run.event("synthesizing", sum(tally.kept), total, candidates=sum(tally.candidates))
    run.timing("synthesize", time.monotonic() - started)
    run.note(sample_batch=source.batch.size)
    _finish(rows + writer.rows, tally, selection, train, generator, run=run)


def _require_fitting(generator: Generator, train: ImageSet, judges: Sequence[Judge]) -> None:
    train.require_same_classes(generator.class_names, what="the generator")
    for judge in judges:
        train.require_same_classes(judge.class_names, what="a judge")
    if generator.image_shape != train.image_shape:
        raise MismatchError(
            f"the generator makes images of {generator.image_shape} and {train.source} has {train.image_shape} "
            "(channels, height, width); use the --image-size it was fitted with"
        )


def _judged(
    images: Images,
    keys: Sequence[Key],
    selection: Selection,
    tally: Tally,
    train: ImageSet,
    generator: Generator,
    options: SynthesisOptions,
    *,
    seed: int,
) -> list[tuple[Row, Images]]:
    """Judge a round, and stop counting a class once it has what it wants. The rows are still without digests."""
    verdicts = selection(images, np.array([c for c, _ in keys], np.int64))
    judged = []
    for i, (c, index) in enumerate(keys):
        if not tally.open(c):
            continue  # generated in vain: the class was filled by an earlier candidate
        verdict, far = verdicts.verdict[i], verdicts.feature_distance[i]
        name = train.class_names[c]
        row = Row(
            file=image_file(name, index) if verdict == KEPT else "",
            class_=name,
            index=index,
            seed=seed,
            guidance=options.guidance,
            guidance_interval=",".join(f"{t:g}" for t in options.guidance_interval),
            sampler=options.sampler,
            steps=options.sample_steps,
            checkpoint=generator.digest[:16],
            feature_distance="" if far is None else f"{far:.4f}",
            nearest_real=int(verdicts.nearest_real[i]),
            nearest_distance=f"{verdicts.nearest_distance[i]:.4f}",
            verdict=verdict,
            sha256="",
        )
        judged.append((row, images[i]))
        tally.add(c, verdict)
    return judged


def _journalled(path: Path, train: ImageSet, tally: Tally) -> list[Row]:
    """The complete rounds of an interrupted run, counted into the tally; an incomplete one is cut off."""
    if not path.exists():
        return []
    text = path.read_bytes()
    complete = text[: text.rfind(b"\n\n") + 2] if b"\n\n" in text else b""
    with atomic_write(path) as file:
        file.write(complete)
    rows = csv_to_rows(complete.replace(b"\n\n", b"\n"), header=False)
    for row in rows:
        tally.add(train.class_names.index(row.class_), row.verdict)
    return rows


def _finish(rows: list[Row], tally: Tally, selection: Selection, train: ImageSet, generator: Generator, *, run: Run) -> None:
    """Write manifest and contact sheet, record what happened, say which classes fell short."""
    names = train.class_names
    if not any(tally.kept):
        raise BudgetError(
            f"none of {sum(tally.candidates)} candidates passed the selection; fit the generator longer, "
            "relax --select-agreement/--select-distance or raise --max-candidates, with another --out"
        )
    short = {names[c]: w - k for c, (w, k) in enumerate(zip(tally.wanted, tally.kept, strict=True)) if k < w}
    rows = sorted(rows, key=lambda row: (names.index(row.class_), row.index))
    write_manifest(run.path, rows)
    _save_sheet(rows, tally, names, generator.image_shape, run=run.path)
    reasons = [row.verdict for row in rows if row.verdict != KEPT]
    between = selection.neighbours.between_real
    run.note(
        class_names=names,
        image_shape=train.image_shape,
        wanted=dict(zip(names, tally.wanted, strict=True)),
        kept=dict(zip(names, tally.kept, strict=True)),
        candidates=dict(zip(names, tally.candidates, strict=True)),
        rejected={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        shortfall=short,
        real_nearest={name: round(float(np.quantile(between, q)), 4) for name, q in QUANTILES.items()} if len(between) else None,
    )
    if short:
        shown = ", ".join(f"{n} by {k}" for n, k in list(short.items())[:5])
        shown += "" if len(short) <= 5 else f" and {len(short) - 5} more"
        run.event(f"Short of the budget after {tally.limit} candidates an image: {shown}. Raise --max-candidates for more.")
    (run.path / JOURNAL).unlink(missing_ok=True)
    run.finish([MANIFEST_FILE, SHEET])


def _save_sheet(rows: list[Row], tally: Tally, names: tuple[str, ...], shape: tuple[int, int, int], *, run: Path) -> None:
    """The first kept images of every class, a row a class."""
    sheet = []
    for name in names:
        mine = [row for row in rows if row.class_ == name and row.verdict == KEPT][:SHEET_COLUMNS]
        if mine:
            sheet.append(np.stack([read_image(run / row.file, row.sha256) for row in mine]))
    with atomic_write(run / SHEET) as file:
        contact_sheet(sheet).save(file, format="PNG")
