"""Running a classifier over images: probabilities, and the features that its last layer takes.

On the CPU this is float32 even if networks are fitted or sampled in bfloat16, so that what is selected, measured and reported
for given weights does not depend on the kind of CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ltaug.classifier.batches import to_input
from ltaug.classifier.models import penultimate
from ltaug.data.imageset import AnyImages
from ltaug.runtime import Runtime

Floats = npt.NDArray[np.float32]

BATCH = 512


def probabilities(model: nn.Module, images: AnyImages | Tensor, *, runtime: Runtime) -> Floats:
    """Softmax of the classifier's logits for uint8 images (N, C, H, W): float32 (N, K)."""
    return _in_batches(lambda x: model(x).float().softmax(dim=1), images, runtime)


def features(model: nn.Module, images: AnyImages | Tensor, *, runtime: Runtime) -> Floats:
    """The input of the classifier's last layer for uint8 images (N, C, H, W): float32 (N, D)."""
    return _in_batches(lambda x: penultimate(model, x).float(), images, runtime)


def _in_batches(compute: Callable[[Tensor], Tensor], images: AnyImages | Tensor, runtime: Runtime) -> Floats:
    assert images.dtype in (np.uint8, torch.uint8), "images are uint8 NCHW"
    found = []
    evaluating = dataclasses.replace(runtime, amp_dtype=None) if runtime.device.type == "cpu" else runtime
    with torch.inference_mode(), evaluating.autocast():
        for start in range(0, max(len(images), 1), BATCH):
            block = images[start : start + BATCH]
            tensor = block if isinstance(block, Tensor) else torch.from_numpy(np.array(block))
            found.append(compute(to_input(tensor.to(runtime.device))).cpu().numpy())
    return np.concatenate(found).astype(np.float32, copy=False)
