"""The README.md of an export: what the images are, how near they come to real ones, and how to withdraw one."""

from __future__ import annotations

import json
from statistics import median

from ltaug.exporting.layouts import TRAIN, Written
from ltaug.exporting.merged import COLUMNS, Merged
from ltaug.records import SynthesisRecord

TEXT = """---
{front}
---

# {images} images of {classes} classes

Made by ltaug: {synthetic} synthetic images{real}. The synthetic ones are samples of the
generator `{generator}` that passed a selection. It was trained on
images of `{source}` (`{digest}`).

## Labels

A label is a place in this list, counted from 0: {names}. Classes without images count.
Where sorted folder names would not be in this order, the number stands in front of the class's name. In torchvision:
`ImageFolder("train", allow_empty=True)`.

## What is known of an image

{columns}. Of a real image only the first five. `sha256` is that of its pixels, `nearest_distance` the distance to the
nearest real image in grey levels (root mean square). `nearest_real`, `start` and the `index` of real images are places
among the images that the generator was trained on. Images drawn by `weight` are of every class equally often.

## Memorisation

{memorisation}

## Licence

{licence}

## To withdraw an image

Here, {withdraw}. If a real image is withdrawn, withdraw the synthetic ones that have it
as `nearest_real` or `start` too, and fit the generator again without it. `ltaug synthesize --withdraw FILE`
makes the set again with others in their places.
"""


def card(merged: Merged, synthesis: SynthesisRecord, written: Written) -> str:
    """The card of a merged set that a layout has written."""
    front = {
        "task_categories": ["image-classification"],
        "tags": ["synthetic"],
        "size_categories": [_size(len(merged))],
        "configs": [{"config_name": "default", "data_files": [{"split": TRAIN, "path": written.files}]}],
    }
    real = f", and the {len(merged.real)} real ones that the generator was trained on" if len(merged.real) else ""
    return TEXT.format(
        front="\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()),
        images=len(merged),
        synthetic=len(merged.synthetic),
        real=real,
        generator=merged.generator,
        source=synthesis.train_source,
        digest=synthesis.train_digest,
        classes=len(merged.class_names),
        names=json.dumps(list(merged.class_names), ensure_ascii=False),
        columns=", ".join(f"`{name}`" for name in COLUMNS),
        memorisation=_memorisation(merged, synthesis),
        licence=_licence(synthesis),
        withdraw=written.withdraw,
    )


def _size(images: int) -> str:
    """The hub's name for a number of images."""
    limits = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    return next((name for limit, name in limits.items() if images < limit), "1M<n<10M")


def _memorisation(merged: Merged, synthesis: SynthesisRecord) -> str:
    distances = [float(row.nearest_distance) for row in merged.rows if row.nearest_distance]
    usual = synthesis.real_nearest
    if not distances or not usual:
        return "Not measured: there are too few images."
    equal, near = sum(d == 0 for d in distances), sum(d < usual["q01"] for d in distances)
    return (
        f"Of {len(distances)} synthetic images {equal} are equal to a real one, and {near} ({near / len(distances):.1%}) are\n"
        f"nearer to a real one than 99 % of real images are to each other ({usual['q01']} grey levels). The median distance\n"
        f"to the nearest real image is {median(distances):.1f}; among real images it is {usual['median']:.1f}."
    )


def _licence(synthesis: SynthesisRecord) -> str:
    """What is known of the licences of whatever the images were made from."""
    own = "The real images have the licence of their dataset, of which ltaug knows nothing: add it above, as `license`."
    said = {f"{one.name}: {one.licence or 'not stated'}" for one in synthesis.outside}
    if not said:
        return f"{own} No outside weights are known to have taken part."
    return f"{own} The generator or its judges have outside weights, with these licences: {'; '.join(sorted(said))}."
