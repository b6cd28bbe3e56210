"""A classifier's weights file: safetensors, with a header that says which network they belong to and what it takes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from ltaug.classifier.models import build_model
from ltaug.data.imageset import ImageSet
from ltaug.files import atomic_write

WEIGHTS_FILE = "weights.safetensors"
HEADER = "ltaug"


def save_weights(path: Path, model: nn.Module, *, name: str, train: ImageSet) -> None:
    """Write the weights of `model`, built under `name` for images like `train`'s, to the file `path`."""
    tensors = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    header = {"model": name, "class_names": train.class_names, "image_shape": train.image_shape}
    with atomic_write(path) as file:
        # A single entry: safetensors writes several in random order, and equal fits should give equal files.
        file.write(save(tensors, metadata={HEADER: json.dumps(header)}))


def load_weights(path: Path) -> tuple[nn.Module, tuple[str, ...], tuple[int, int, int]]:
    """The network in a weights file, in evaluation mode on the CPU, its class names and the (C, H, W) of its images."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is not a mapping)
    class_names = tuple(header["class_names"])
    c, h, w = header["image_shape"]
    with torch.random.fork_rng(devices=[]):  # the random initial weights are overwritten; the caller's draws must not change
        model = build_model(header["model"], num_classes=len(class_names), image_shape=(c, h, w))
    model.load_state_dict(weights)
    return model.eval(), class_names, (c, h, w)
