"""The options that say which synthetic images are kept: the part of SynthesisOptions that switches on the rules of RULES."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.fields import option

DIFFULT = ("id", "aid", "id+aid")


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """The selection rules."""

    select_agreement: bool = option(
        False, "keep only if every judge, a classifier of real images, reads the label (else: disagree)"
    )
    select_distance: bool = option(False, "keep only inside its class's band of judge-feature distances (else: near, far)")
    band: tuple[float, ...] = option(
        (0.0, 0.95),
        "quantiles of the real distances that bound the band",
        low=0,
        high=1,
        ascending=True,
        owner={"select_distance": True},
    )
    select_diffult: str | None = option(
        None,
        "keep by distance to the class's centroid and d, the largest between two of its real images: up to d (id), above d and "
        "up to 2d (aid) or up to 2d (else: inside, outside)",
        choices=DIFFULT,
    )
    select_prototype: bool = option(
        False, "keep only at an angle to its class's mean feature that real images have (else: typical, atypical)"
    )
    select_confidence: tuple[float, ...] = option(
        (),
        "LOW,HIGH, such as 0.3,0.9: keep if the judges' mean probability of the class is between (else: unsure, easy)",
        low=0,
        high=1,
        ascending=True,
    )
    select_margin: float | None = option(
        None,
        "keep if the class leads every other by this much in the judges' mean probability (else: ambiguous)",
        low=0.01,
        high=0.99,
    )
    drop_copies: bool = option(
        False,
        "drop images nearer to a real one than 1 % of real images are to each other, above 32 pixels in the judges' features too "
        "(copy)",
    )
