"""Fits of a tiny network, alone or by the processes of a group: `python fits.py FILE` writes what they all came to."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import torch

from ltaug.data.imageset import ImageSet
from ltaug.distributed.group import SOLO, open_group
from ltaug.fields import resolve
from ltaug.generator.fit import build_trainee, fit
from ltaug.generator.objectives.terms import Judged
from ltaug.generator.step import prepare
from ltaug.options import GeneratorOptions
from ltaug.place import place_of
from ltaug.runtime import Runtime

UNET = {"channels": 8, "channel_mults": (1, 2), "blocks": 1, "attention": (8,)}
VIT = {"backbone": "vit", "patch": 4, "depth": 3, "heads": 2, "width": 16}
CPU = Runtime(torch.device("cpu"), None)
# name -> (options, how it is computed)
CASES = {
    "cbdm": ({"objective": "cbdm"}, CPU),
    "coral": ({"objective": "coral", "coral_weight": 1.0}, CPU),
    "coral as released": ({"objective": "coral", "coral_weight": 1.0, "coral_mode": "released"}, CPU),
    "t2h+cbdm+coral": ({"objective": "t2h+cbdm+coral"}, CPU),
    "pairs": ({"objective": "t2h+cbdm", "pair_fraction": 0.4, "draws": 2, "pair_form": "sampled"}, CPU),
    "micro-batches": ({"objective": "t2h+cbdm"}, dataclasses.replace(CPU, micro_batch=2)),
    "recomputed": ({"objective": "cbdm"}, dataclasses.replace(CPU, checkpoint_activations=True)),
    "aid": ({"objective": "cbdm+aid", "aid_weight": 10.0, "aid_below": 100.0}, dataclasses.replace(CPU, micro_batch=2)),
    "plain": ({"objective": "cbdm+coral"}, dataclasses.replace(CPU, plain=True)),
    "vit": ({"objective": "cbdm+coral", "sampling": "rs", "augment": "diffaug", **VIT}, CPU),
}
STEPS = 4


def toy_judged() -> Judged:
    """Features that are linear in the pixels."""
    stream = torch.Generator().manual_seed(0)
    weight, centroids = torch.randn(64, 4, generator=stream) / 8, torch.randn(3, 4, generator=stream)
    return Judged(lambda x: x.flatten(1) @ weight, centroids, torch.tensor([1.0, 1.5, 2.0]))


def long_tailed() -> ImageSet:
    labels = np.repeat(np.arange(3), [12, 6, 2]).astype(np.int64)
    images = np.random.RandomState(0).randint(0, 256, (20, 1, 8, 8)).astype(np.uint8)
    return ImageSet(images, labels, ("a", "b", "c"), "tiny")


def fitted(case: str, group=SOLO) -> dict[str, torch.Tensor]:
    """losses: (STEPS, terms), of the whole batch; weights: all that was trained, and its average, as one vector each."""
    given, runtime = CASES[case]
    size = {} if "backbone" in given else UNET
    settings = {"dropout": 0.0, "batch_size": 7, "label_dropout": 0.2, "steps": STEPS, "warmup": 2} | size | given
    options = resolve(GeneratorOptions, settings, image_side=8)
    trainee = build_trainee(options, long_tailed(), seed=0, device=runtime.device, judged=toy_judged())
    torch.manual_seed(0)
    for p in trainee.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))  # away from the zeros at which networks start
    trainee = prepare(trainee, options, runtime, group)
    losses = []

    def after_step(step, terms):
        losses.append(group.sum(torch.stack(list(terms.values()))))
        return True

    fit(trainee, long_tailed(), options, runtime, seed=0, group=group, after_step=after_step)
    trained = [*trainee.denoiser.parameters(), *trainee.objective.parameters()]
    return {
        "losses": torch.stack(losses),
        "weights": torch.cat([p.detach().flatten() for p in trained]),
        "average": torch.cat([p.detach().flatten() for p in trainee.ema.module.parameters()]),
    }


def main(path: str) -> None:
    torch.set_num_threads(1)
    place = place_of()
    with open_group(place, device="cpu") as group:
        found = {case: fitted(case, group) for case in CASES}
        stream = torch.rand(3)  # what a network's dropout would have drawn next
        rows = torch.full((1 + place.rank, 2), float(place.rank), requires_grad=True)
        gathered = group.gather(rows, place.rank, 3)
        (gathered * torch.arange(3)[:, None]).sum().backward()
        found["group"] = {
            "stream": stream,
            "any": [group.any(False), group.any(place.rank == 1)],
            "led": group.led(lambda: f"rank {place.rank}"),
            "gathered": gathered.detach(),
            "gradient": rows.grad,
            "share": group.share_of(7),
        }
        torch.save(found, f"{path}.{place.rank}")


if __name__ == "__main__":
    main(sys.argv[1])
