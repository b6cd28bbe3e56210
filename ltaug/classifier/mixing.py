"""Augmentations that mix images of a batch, and with them labels and sources (`Batch.mixed`).

Each takes a Batch with images in [-1, 1] and returns a new one. All draws are per image, from torch's global generator, and none
makes the host wait for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ltaug.classifier.batches import Batch

CUT = 0.5  # probability that an image gets a patch, as in both papers' settings for CIFAR


def mixup(batch: Batch, *, alpha: float) -> Batch:
    """Mix each image with another of the batch, by a share drawn from Beta(alpha, alpha) (Zhang et al., ICLR 2018, section 2)."""
    share = _shares(batch, alpha)
    return _blended(batch, _anyone(batch), share, labelled=share)


def remix(batch: Batch, *, mixup_alpha: float, kappa: float = 3.0, tau: float = 0.5) -> Batch:
    """mixup whose label is the rarer class's alone where that is clear (Chou et al., ECCV 2020 workshops).

    An image of share below `tau` leaves its label to a partner whose class has at most 1/`kappa` of its images, and the other
    way round. Sources follow the labels, so that the prior of an image never excludes its label.
    """
    share, partner = _shares(batch, mixup_alpha), _anyone(batch)
    counts = batch.class_counts.sum(0).float()
    own = counts[batch.labels] if batch.labels.ndim == 1 else batch.labels @ counts
    other = own[partner]
    labelled = torch.where((own >= kappa * other) & (share < tau), 0.0, share)
    labelled = torch.where((other >= kappa * own) & (1 - share < tau), 1.0, labelled)
    return _blended(batch, partner, share, labelled=labelled)


def class_mixup(batch: Batch, *, mixup_alpha: float) -> Batch:
    """mixup with a partner of the same class, real or synthetic; an image alone in its class stays as it is."""
    share = _shares(batch, mixup_alpha)
    return _blended(batch, _classmate(batch), share, labelled=share)


def cutmix(batch: Batch, *, alpha: float) -> Batch:
    """Paste a patch of another image of the batch onto half of the images (Yun et al., ICCV 2019, eq. 1 and 2)."""
    return _patched(batch, batch, _anyone(batch), alpha)


def class_cutmix(batch: Batch, *, cutmix_alpha: float) -> Batch:
    """cutmix with a partner of the same class, real or synthetic; an image alone in its class stays as it is."""
    return _patched(batch, batch, _classmate(batch), cutmix_alpha)


def cmo(batch: Batch, donors: Batch, *, cutmix_alpha: float) -> Batch:
    """cutmix with patches from `donors`, in which classes are equally frequent (CMO; Park et al., CVPR 2022, algorithm 1)."""
    return _patched(batch, donors, _anyone(donors), cutmix_alpha)


def _shares(batch: Batch, alpha: float) -> Tensor:
    """The share that each image keeps, (B,), from Beta(alpha, alpha)."""
    shape = torch.full((2, len(batch.images)), alpha, device=batch.images.device)
    # Beta(a, a) from two Gammas. Validating the arguments would make the host wait for the device.
    one, other = torch.distributions.Gamma(shape, torch.ones_like(shape), validate_args=False).sample()
    share: Tensor = one / (one + other)
    return share


def _anyone(batch: Batch) -> Tensor:
    """A partner for each image, int64 (B,): a permutation."""
    return torch.randperm(len(batch.images), device=batch.images.device)


def _classmate(batch: Batch) -> Tensor:
    """A random other image of each image's class, int64 (B,), or the image itself where there is none."""
    label = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(1)
    # 1 to 2 for classmates, 0.5 for the image itself, 0 for all others: the largest is the partner.
    drawn = 1 + torch.rand(len(label), len(label), device=label.device).fill_diagonal_(-0.5)
    return (drawn * (label[:, None] == label[None])).argmax(1)


def _blended(batch: Batch, partner: Tensor, share: Tensor, *, labelled: Tensor) -> Batch:
    """Each image's `share` of it and the rest of its partner; `labelled` is the share of its own label."""
    own = share[:, None, None, None]
    images = own * batch.images + (1 - own) * batch.images.index_select(0, partner)
    return batch.mixed(images, partner=partner, share=labelled)


def _patched(batch: Batch, donors: Batch, partner: Tensor, alpha: float) -> Batch:
    """Half of the images get a rectangle of their partner among `donors`; its share of the area is from Beta(alpha, alpha)."""
    b, _, h, w = batch.images.shape
    device = batch.images.device
    side = (1 - _shares(batch, alpha)).sqrt() * (torch.rand(b, device=device) < CUT)
    rows, columns = (_within(size, torch.rand(b, device=device), side) for size in (h, w))
    patch = rows[:, :, None] & columns[:, None, :]
    images = torch.where(patch[:, None], donors.images.index_select(0, partner), batch.images)
    share = 1 - patch.flatten(1).float().mean(1)  # what is left once the rectangle is cut off at the edges
    return batch.mixed(images, partner=partner, share=share, donors=donors)


def _within(size: int, centre: Tensor, side: Tensor) -> Tensor:
    """Which of `size` pixels lie within half of `side` of `centre`, both in units of `size`: bool (B, size)."""
    pixel = (torch.arange(size, device=centre.device) + 0.5) / size
    return (pixel - centre[:, None]).abs() < side[:, None] / 2
