"""export and merged: the real and the kept synthetic images of a synthesis for other trainers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ltaug.data.outside import require_outside
from ltaug.errors import MismatchError
from ltaug.exporting.card import card
from ltaug.exporting.merged import Merged
from ltaug.exporting.once import made_once
from ltaug.machine import Machine
from ltaug.manifest import KEPT, read_manifest, read_synthetic
from ltaug.methods import LAYOUTS
from ltaug.records import MANIFEST_FILE, SynthesisRecord
from ltaug.runs import Event, Listener, ignore_events
from ltaug.stages.opening import load_data

if TYPE_CHECKING:
    from ltaug.exporting.torch_set import MergedSet


def export(
    run: Path,
    *,
    to: str,
    out: Path,
    with_real: bool = False,
    machine: Machine = Machine(),  # noqa: B008
    listener: Listener = ignore_events,
) -> dict[str, Any]:
    """Write the kept images of a synthesis for other tools, with what is known of each and a dataset card; `ltaug export`.

    Args:
        run: a finished synthesize run.
        to: a name in methods.LAYOUTS.
        out: appears complete or not at all; left as it is where the same call filled it before.
        with_real: the real training images of the generator's draw, too.

    Returns:
        out, to, and how many images there are: real, synthetic and by class.

    Raises:
        OptionError: no such layout, its package is not installed, or `out` lies in the dataset.
        RunExistsError: `out` exists and is something else.
        MismatchError: not a finished synthesis, or its generator or real images are not what they were.
        CorruptError: an image is damaged.
    """
    write = LAYOUTS.find(to)
    record = SynthesisRecord.read(run, finished=True)
    require_outside(out, record.dataset.dataset)

    def make(folder: Path) -> dict[str, Any]:
        merged = _merge(record, with_real=with_real, machine=machine, listener=listener)
        listener(Event("export", f"writing {len(merged)} images"))
        written = write(merged, folder)
        (folder / "README.md").write_text(card(merged, record, written), encoding="utf-8")
        counts = np.bincount(merged.labels, minlength=len(merged.class_names)).tolist()
        per_class = dict(zip(merged.class_names, counts, strict=True))
        return {"real": len(merged.real), "synthetic": len(merged.synthetic), "per_class": per_class}

    asked = {"synthesis": record.outputs[MANIFEST_FILE], "to": to, "with_real": with_real}
    return {"out": str(out), **made_once(out, asked, make)}


def merged(
    run: Path,
    transform: Callable[[Any], Any] | None = None,
    *,
    machine: Machine = Machine(),  # noqa: B008
    listener: Listener = ignore_events,
) -> MergedSet:
    """The real training images and the kept ones of a finished synthesis, as a torch Dataset of (image, label).

    Args:
        transform: given a Pillow image, as torchvision's and timm's expect it; without one an image is a tensor, float32
            (C, H, W) from 0 to 1.

    Raises:
        MismatchError, CorruptError: see `export`.
    """
    from ltaug.exporting.torch_set import MergedSet

    record = SynthesisRecord.read(Path(run), finished=True)
    return MergedSet(_merge(record, with_real=True, machine=machine, listener=listener), transform)


def _merge(record: SynthesisRecord, *, with_real: bool, machine: Machine, listener: Listener) -> Merged:
    made = record.generator()
    if made is None:
        lay = record.generator_run.path
        raise MismatchError(f"the generator of {record.path} is not at {lay} any more; put it back there")
    synthetic = read_synthetic(record.path)
    rows = tuple(row for row in read_manifest(record.path) if row.verdict == KEPT)
    real = synthetic.take(np.zeros(0, np.int64))
    if with_real:
        real = load_data(made.dataset, made.seed, machine, "real images", listener).train
        if real.digest != record.train_digest:
            raise MismatchError(f"the training images of {made.path} have changed since {record.path} was made; synthesize again")
    return Merged(real, synthetic, rows, record.generator_run.digest)
