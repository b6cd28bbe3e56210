"""Fine-tuning: the weights of a finished generator as the start of another one, with its classes matched by name.

Importing this loads no torch: the parent of `ltaug run` matches networks here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltaug.data.longtail import listed
from ltaug.errors import MismatchError
from ltaug.fields import check, shown
from ltaug.methods import GENERATOR_AUGMENTATIONS
from ltaug.options import NETWORK, GeneratorOptions
from ltaug.records import GeneratorRecord

if TYPE_CHECKING:
    from torch import Tensor

    from ltaug.generator.denoiser import Denoiser
    from ltaug.generator.trainee import Trainee

CLASSES = "backbone.classes.weight"  # (K, D), a row a class
AUGMENT = "backbone.augment.weight"  # of the label that says how images were varied; not every fit has one
AFRESH = "or fit a new generator without --from"


@dataclass(frozen=True)
class Carried:
    """What becomes of class names: known to both sides (in the new order), new, and known to the source alone."""

    kept: tuple[str, ...]
    new: tuple[str, ...]
    left_behind: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.kept)} classes carried over" if len(self.kept) != 1 else "1 class carried over"]
        parts += [f"{listed(list(self.new))} new"] if self.new else []
        parts += [f"{listed(list(self.left_behind))} left behind"] if self.left_behind else []
        return "; ".join(parts)


def continued(
    source: Path | None, dataset: Mapping[str, Any], given: Mapping[str, Any], seed: int | None
) -> tuple[Mapping[str, Any], Mapping[str, Any], int]:
    """Dataset options, GeneratorOptions and seed of a fit, completed from the finished run it starts from, if any.

    Raises:
        MismatchError: the source is no finished fit-generator run, or options were given that would be another network.
    """
    if source is None:
        return dataset, given, seed or 0
    made = GeneratorRecord.read(source, finished=True)
    network = with_network_of(asdict(made.options), given, name=str(source))
    return dataset or asdict(made.dataset), network, made.seed if seed is None else seed


def saw_mirrored(generator: GeneratorRecord) -> bool:
    """Whether the generator, or one it was fine-tuned from, saw mirrored images, as far as they still lie there."""
    return any(made.options.flip or GENERATOR_AUGMENTATIONS[made.options.augment].mirrors for made in generator.lineage())


def with_network_of(source: Mapping[str, Any], given: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """The GeneratorOptions given, completed by those that describe the source's network; all others start from defaults.

    Args:
        source: the source's GeneratorOptions by name.
        name: what to call the source.

    Raises:
        MismatchError: an option was given that would be another network; every difference is named.
    """
    chosen = check(GeneratorOptions, given, where="fit-generator")
    network = check(GeneratorOptions, {key: source[key] for key in NETWORK if key in source}, where=name)
    differing = [
        f"--{key.replace('_', '-')} {shown(value)}, not {shown(chosen[key])}"
        for key, value in network.items()
        if key in chosen and chosen[key] != value
    ]
    if differing:
        raise MismatchError(f"{name} has another network ({'; '.join(differing)}); leave out what differs, {AFRESH}")
    return network | chosen


def match_classes(source: Sequence[str], classes: Sequence[str]) -> Carried:
    """Which of `classes` the source knows."""
    kept = tuple(c for c in classes if c in source)
    return Carried(kept, tuple(c for c in classes if c not in source), tuple(c for c in source if c not in classes))


def require_same_shape(source: Sequence[int], image_shape: Sequence[int], *, name: str) -> None:
    """Raise MismatchError unless the source's images (C, H, W) are of this shape."""
    if tuple(source) != tuple(image_shape):
        sized = source[0] == image_shape[0] and source[1] == source[2]
        remedy = f"give --image-size {source[1]}" if sized else "give another dataset"
        raise MismatchError(f"{name} draws images of {_size(source)}, the dataset has {_size(image_shape)}; {remedy}, {AFRESH}")


def _size(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{height}x{width} pixels and {channels} channel{'s' if channels > 1 else ''}"


def carry(source: Denoiser, known: Sequence[str], trainee: Trainee, classes: Sequence[str], *, steps: int, name: str) -> None:
    """Start a trainee, network and average alike, from the source's weights.

    A class embedding is carried over by the class's name. A new class gets the mean of all the source's embeddings, with noise of
    their spread: it is drawn at first as a class between the others, and two new ones differ, without which CBDM's term of them
    would be zero. The linear map of an augmentation's label is carried over if both have one. The objective's own
    modules and the optimizer are the trainee's: they belong to what is minimised now.

    Args:
        known: the source's classes.
        classes: the trainee's.
        steps: training steps behind the source's weights.

    Raises:
        MismatchError: the two networks differ in more than classes and augmentation.
    """
    weights, own = source.state_dict(), trainee.denoiser.state_dict()
    weights[CLASSES] = embeddings(weights[CLASSES], known, classes)
    if AUGMENT in own:
        weights.setdefault(AUGMENT, own[AUGMENT])
    else:
        weights.pop(AUGMENT, None)
    different = [key for key in sorted({*weights, *own}) if _shape(weights, key) != _shape(own, key)]
    if different:
        raise MismatchError(f"{name} has another network: {listed(different)} differ in it; use the ltaug that made it, {AFRESH}")
    trainee.denoiser.load_state_dict(weights)
    trainee.ema.module.load_state_dict(weights)
    trainee.ema.steps_before = steps


def embeddings(weight: Tensor, known: Sequence[str], classes: Sequence[str]) -> Tensor:
    """(K', D) for `classes` from the source's (K, D): see `rows_for`."""
    assert len(weight) == len(known), "one embedding a class"
    rows = {name: weight[i] for i, name in enumerate(known)}
    return rows_for(classes, rows, mean=weight.mean(0), spread=weight.std(0))


def rows_for(names: Sequence[str], known: Mapping[str, Tensor], *, mean: Tensor, spread: Tensor) -> Tensor:
    """A row (D,) a name: its own where it is known, otherwise the mean with noise of this deviation, drawn by the name alone."""
    import torch

    from ltaug.runtime import derive_seed

    def new(name: str) -> Tensor:
        noise = torch.randn(len(mean), generator=torch.Generator().manual_seed(derive_seed(0, "new class", name)), device="cpu")
        return mean + spread * noise.to(mean)

    return torch.stack([known[name] if name in known else new(name) for name in names])


def _shape(weights: Mapping[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None
