"""What judges say of how to make images: the criteria that guide sampling, and the strength of classifier-free guidance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ltaug.errors import OptionError
from ltaug.generator.generate import GeneratedImages, Key
from ltaug.methods import CRITERIA
from ltaug.metrics.frechet import Gaussian, frechet_distance, gaussian
from ltaug.runs import Run
from ltaug.runtime import derive_seed
from ltaug.synthesis.places import Floats
from ltaug.synthesis.select import Candidates, Judge, Real

FACT = "guidance"
TRIED = 500  # images at most that are made with each strength of guidance


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (B,) of logits (B, K): high where a judge reads another class."""
    return F.cross_entropy(logits, labels, reduction="none")


def entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Entropy (B,) of the softmax of logits (B, K): high where a judge is undecided."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def criterion_of(name: str, judges: Sequence[Judge]) -> Callable[[Tensor, Tensor], Tensor]:
    """The judges' mean of this criterion, of images (B, C, H, W) in -1..1 and labels (B,): (B,).

    Raises:
        OptionError: there are no judges.
    """
    if not judges:
        raise OptionError(f"--guide {name} needs judges; give at least one classifier run of the real set")
    criterion = CRITERIA[name]
    return lambda x, labels: torch.stack([criterion(judge.logits(x), labels) for judge in judges]).mean(0)


def choose_guidance(generated: GeneratedImages, real: Real, strengths: Sequence[float], *, run: Run) -> GeneratedImages:
    """With the strength of the smallest of `guidance_distances`; it is said and noted in run.json, and chosen once for a run."""
    if FACT not in run.record["facts"]:
        distances = guidance_distances(generated, real, strengths)
        chosen = min(distances, key=distances.__getitem__)
        shown = {f"{w:g}": round(distance, 4) for w, distance in distances.items()}
        run.note(**{FACT: {"chosen": chosen, "distances": shown}})
        run.save()
        tried = ", ".join(f"{w}: {distance:g}" for w, distance in shown.items())
        run.event(f"Guidance {chosen:g} is chosen: distances to the covariances of real images by guidance are {tried}.")
    return with_chosen_guidance(generated, run.record["facts"])


def with_chosen_guidance(generated: GeneratedImages, facts: Mapping[str, Any]) -> GeneratedImages:
    """With the strength of guidance that a run's facts say was chosen, if one was."""
    if FACT not in facts:
        return generated
    sampling = dataclasses.replace(generated.sampling, guidance=float(facts[FACT]["chosen"]))
    return dataclasses.replace(generated, sampling=sampling)


def guidance_distances(generated: GeneratedImages, real: Real, strengths: Sequence[float]) -> dict[float, float]:
    """For each strength of guidance how far the variation of generated images is from that of real ones.

    As many images of each class are made as its share of the training set says, TRIED at most, from the same noise for every
    strength; it is none of the candidates'. They are compared in the judges' features.

    Raises:
        OptionError: there are no judges, or fewer than two real images.
    """
    if not real.judges or len(real.images) < 2:
        raise OptionError("--choose-guidance needs judges and at least two real images; give --guidance instead")
    count = min(TRIED, len(real.images))
    labels = np.sort(real.images.labels)[np.linspace(0, len(real.images) - 1, count).round().astype(np.int64)]
    firsts = np.searchsorted(labels, labels)
    keys: list[Key] = [(int(c), int(i - firsts[i])) for i, c in enumerate(labels)]
    found = {}
    for w in strengths:
        sampling = dataclasses.replace(generated.sampling, guidance=w)
        made = dataclasses.replace(generated, sampling=sampling, seed=derive_seed(generated.seed, "guidance"))
        found[w] = covariance_distance(Candidates(made(keys), labels, real).features, real.features)
    return found


def covariance_distance(a: Floats, b: Floats) -> float:
    """The part of the Frechet distance between features (N, D) and (M, D) that is due to their covariances A and B.

    tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2: classifiers trained on generated images gain by their variation, which guidance
    takes away, more than by their mean.
    """
    first, second = (Gaussian(np.zeros(f.shape[1]), gaussian(f).factor) for f in (a, b))
    return frechet_distance(first, second)
