"""A fitted classifier: its weights file, and what it gives of images: class probabilities, and the input of its last layer.

On the CPU this is float32 even if networks are fitted or sampled in bfloat16, so that what is selected, measured and reported
for given weights does not depend on the kind of CPU.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ltaug.checkpoints import put
from ltaug.classifier.batches import to_input
from ltaug.classifier.models import build_model, penultimate
from ltaug.classifier.pretrained import Normalised
from ltaug.data.imageset import AnyImages, ImageSet
from ltaug.errors import CorruptError, MismatchError
from ltaug.files import atomic_write
from ltaug.formats import FORMAT, WEIGHTS, require_known
from ltaug.methods import LOSSES
from ltaug.records import ClassifierRecord
from ltaug.runtime import Runtime
from ltaug.shapes import NETWORK, require_shape

Floats = npt.NDArray[np.float32]

BATCH = 512  # images at a time, fewer above 64 pixels
WEIGHTS_FILE = "weights.safetensors"
HEADER = "ltaug"


def save_weights(path: Path, model: nn.Module, *, name: str, head: str = "linear", train: ImageSet) -> None:
    """Write the weights of `model`, built under `name` with `head` for images like `train`'s, to a safetensors file.

    Its header says which network they belong to and what it takes.
    """
    tensors = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    header = {FORMAT: WEIGHTS, "model": name, "class_names": train.class_names, "image_shape": train.image_shape}
    if head != "linear":  # files of ordinary networks stay as they were
        header["head"] = head
    if isinstance(model, Normalised):
        header["statistics"] = dict(model.statistics)
    with atomic_write(path) as file:
        # A single entry: safetensors writes several in random order, and equal fits should give equal files.
        file.write(save(tensors, metadata={HEADER: json.dumps(header)}))


def load_weights(path: Path) -> tuple[nn.Module, tuple[str, ...], tuple[int, int, int]]:
    """The network in a weights file, in evaluation mode on the CPU, its class names and the (C, H, W) of its images.

    Raises:
        MismatchError: a newer ltaug wrote it.
        CorruptError: the file is damaged or of another program.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is not a mapping)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise CorruptError(f"{path} cannot be read ({error}); delete {path.parent} and run its command again") from error
    require_shape(header, NETWORK, path)
    require_known(header, WEIGHTS, what=path)
    class_names = tuple(header["class_names"])
    c, h, w = header["image_shape"]
    with torch.random.fork_rng(devices=[]):  # the random initial weights are overwritten; the caller's draws must not change
        kind: dict[str, Any] = {"head": header.get("head", "linear"), "statistics": header.get("statistics")}
        model = build_model(header["model"], num_classes=len(class_names), image_shape=(c, h, w), **kind)
    put(weights, model, path)
    return model.eval(), class_names, (c, h, w)


def probabilities(model: nn.Module, images: AnyImages | Tensor, *, runtime: Runtime) -> Floats:
    """Softmax of the classifier's logits for uint8 images (N, C, H, W): float32 (N, K)."""
    return _in_batches(lambda x: model(x).float().softmax(dim=1), images, runtime)


def features(model: nn.Module, images: AnyImages | Tensor, *, runtime: Runtime) -> Floats:
    """The input of the classifier's last layer for uint8 images (N, C, H, W): float32 (N, D), not normalised."""
    return _in_batches(lambda x: penultimate(model, x).float(), images, runtime)


def looking(runtime: Runtime) -> Runtime:
    """The runtime for looking at images with a classifier."""
    return dataclasses.replace(runtime, amp_dtype=None) if runtime.device.type == "cpu" else runtime


def _in_batches(compute: Callable[[Tensor], Tensor], images: AnyImages | Tensor, runtime: Runtime) -> Floats:
    assert images.dtype in (np.uint8, torch.uint8), "images are uint8 NCHW"
    found, size = [], max(1, BATCH * 64**2 // max(64**2, images.shape[2] * images.shape[3]))
    with torch.inference_mode(), looking(runtime).autocast():
        for start in range(0, max(len(images), 1), size):
            block = images[start : start + size]
            tensor = block if isinstance(block, Tensor) else torch.from_numpy(np.array(block))
            found.append(compute(to_input(tensor.to(runtime.device))).cpu().numpy())
    return np.concatenate(found).astype(np.float32, copy=False)


def _log_prior(record: ClassifierRecord) -> Floats:
    """(K,) see `Judge.log_prior`."""
    counts = np.array(record.class_counts, np.float64)
    options = record.options
    if LOSSES.about(options.loss).balances or options.sampling != "natural" or options.reweight_from < 1:
        return np.zeros(len(counts), np.float32)
    shares: Floats = (np.maximum(counts, 1) / counts.sum()).astype(np.float32)
    return np.log(shares)


@dataclass(frozen=True)
class Judge:
    """A trained classifier that is applied to images it was not trained on.

    Its methods raise a MismatchError for images of another shape than those it was trained on.
    """

    model: nn.Module  # in evaluation mode on the runtime's device
    class_names: tuple[str, ...]  # the class of each output
    image_shape: tuple[int, int, int]
    digest: str  # SHA-256 of its weights file
    log_prior: Floats  # (K,), what its logits hold of the class prior of its training images; 0 where its loss takes that out
    runtime: Runtime

    @classmethod
    def load(cls, path: Path, *, runtime: Runtime) -> Judge:
        """The classifier of a finished train-classifier run.

        Raises:
            MismatchError: the directory is another stage's run, or unfinished.
            CorruptError: its weights are missing or damaged.
        """
        record = ClassifierRecord.read(path, finished=True)
        record.verify(WEIGHTS_FILE)
        model, class_names, image_shape = load_weights(path / WEIGHTS_FILE)
        log_prior = _log_prior(record)
        return cls(model.to(runtime.device), class_names, image_shape, record.outputs[WEIGHTS_FILE], log_prior, runtime)

    def features(self, images: AnyImages | Tensor) -> Floats:
        """`features` of uint8 images (N, C, H, W)."""
        self._require_shape(images)
        return features(self.model, images, runtime=self.runtime)

    def probabilities(self, images: AnyImages | Tensor) -> Floats:
        """`probabilities` of uint8 images (N, C, H, W)."""
        self._require_shape(images)
        return probabilities(self.model, images, runtime=self.runtime)

    def logits(self, x: Tensor) -> Tensor:
        """Float32 (B, K) of images (B, C, H, W) in -1..1 on the runtime's device; gradients go through to the images."""
        self._require_shape(x)
        with looking(self.runtime).autocast():
            return self.model(x).float()  # type: ignore[no-any-return]

    def embedding(self, x: Tensor) -> Tensor:
        """Float32 (B, D), `features` of images (B, C, H, W) as `logits` takes them; gradients go through to the images."""
        self._require_shape(x)
        with looking(self.runtime).autocast():
            return penultimate(self.model, x).float()

    def _require_shape(self, images: AnyImages | Tensor) -> None:
        shape = tuple(images.shape[1:])
        if shape != self.image_shape:
            raise MismatchError(
                f"images of {shape} given to a classifier of images of {self.image_shape} (channels, height, width); "
                "use a classifier trained on the same dataset and --image-size"
            )
