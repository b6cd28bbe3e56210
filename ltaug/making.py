"""Options of how a synthetic image is made, besides the sampler's: what it starts from, what moves it, how guidance is chosen."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug.fields import Owners, option
from ltaug.methods import CRITERIA, STARTS

# What asks judges.
JUDGED: Owners = {
    "start": tuple(name for name in STARTS if STARTS.about(name).needs_judges),
    "guide": tuple(CRITERIA),
    "choose_guidance": True,
}


@dataclass(frozen=True, kw_only=True)
class MakingOptions:
    """What an image is made from and moved by."""

    start: str = option(
        "noise",
        "start from noise, from a real image of the class (real), or of the larger class that judges most confuse with it",
        choices=("noise", *STARTS),
    )
    strength: float = option(
        0.5,
        "t/T up to which that real image is noised; 0 would leave it as it is, 1 would leave nothing of it",
        low=0.01,
        high=0.99,
        owner={"start": tuple(STARTS)},
    )
    guide: str = option("none", "move images, as they are made, to higher loss or entropy of judges", choices=("none", *CRITERIA))
    guide_scale: float = option(0.03, "length of such a move over the noisy image's", low=0, owner={"guide": tuple(CRITERIA)})
    guide_every: int = option(5, "steps of the sampler from one move to the next", low=1, owner={"guide": tuple(CRITERIA)})
    choose_guidance: tuple[float, ...] = option(
        (), "try these strengths of guidance, as 0,0.5,1,2,4, and take that whose features vary most like real ones'", low=0
    )
