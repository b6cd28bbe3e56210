"""Judge: the classifier of a finished run, which gives features and class probabilities of other images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from ltaug.classifier.evaluate import Floats, features, probabilities
from ltaug.classifier.weights import WEIGHTS_FILE, load_weights
from ltaug.data.imageset import AnyImages
from ltaug.errors import MismatchError
from ltaug.records import ClassifierRecord
from ltaug.runtime import Runtime


@dataclass(frozen=True)
class Judge:
    """A trained classifier that is applied to images it was not trained on.

    Attributes:
        model: the network, in evaluation mode on the runtime's device.
        class_names: the class of each output.
        image_shape: (C, H, W) of the images it takes.
        digest: SHA-256 of its weights file.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    digest: str
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
        return cls(model.to(runtime.device), class_names, image_shape, record.outputs[WEIGHTS_FILE], runtime)

    def features(self, images: AnyImages | Tensor) -> Floats:
        """The last layer's input for uint8 images (N, C, H, W): float32 (N, D), not normalised.

        Raises:
            MismatchError: the images have another shape than those the classifier was trained on.
        """
        self._require_shape(images)
        return features(self.model, images, runtime=self.runtime)

    def probabilities(self, images: AnyImages | Tensor) -> Floats:
        """Class probabilities of uint8 images (N, C, H, W): float32 (N, K).

        Raises:
            MismatchError: the images have another shape than those the classifier was trained on.
        """
        self._require_shape(images)
        return probabilities(self.model, images, runtime=self.runtime)

    def _require_shape(self, images: AnyImages | Tensor) -> None:
        shape = tuple(images.shape[1:])
        if shape != self.image_shape:
            raise MismatchError(
                f"images of {shape} given to a classifier of images of {self.image_shape} (channels, height, width); "
                "use a classifier trained on the same dataset and --image-size"
            )
