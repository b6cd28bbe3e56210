"""The options of every figure: the one source of their defaults, read by the command line and by draw_figure alike."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ltaug.fields import option
from ltaug.options import EvaluationOptions, GuidedOptions, SamplerOptions, SamplingOptions


def _as_in(cls: type, name: str) -> Any:
    """A field like that of another class of options: the same default, limits and help."""
    f: dataclasses.Field[Any] = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return dataclasses.field(default=f.default, metadata=f.metadata)


@dataclass(frozen=True, kw_only=True)
class SamplesOptions(SamplingOptions):
    """A contact sheet of every class."""

    per_class: int = option(8, "images of each class", low=1, high=1000)
    classes: tuple[str, ...] | None = option(None, "these classes, in this order [default: all, most frequent first]")
    same_noise: bool = option(False, "column i of every class starts from the same noise")


@dataclass(frozen=True, kw_only=True)
class DenoisingOptions(GuidedOptions):
    """Two classes under two models from the same noise."""

    classes: tuple[str, ...] | None = option(None, "two classes [default: the most frequent and the rarest]")
    columns: int = option(10, "noise levels shown", low=2, high=100)
    noises: int = option(16, "noises that the distances are averaged over; the first is shown", low=1, high=1000)


@dataclass(frozen=True, kw_only=True)
class FeaturesOptions:
    """The bottleneck of the averaged network, seen by t-SNE and measured."""

    timestep: int = option(100, "t of the noise level, of VP's 1000 (EDM: the same sigma)", low=0, high=999)
    images: str = option("train", "whose features: the training or the test images", choices=("train", "test"))
    condition: str = option("own", "the label the network is told: each image's own, or none", choices=("own", "none"))
    neighbours: int = option(10, "k of the purity", low=1, high=1000)
    perplexity: float = option(30.0, "t-SNE's perplexity, at most a third of the images", low=1)


@dataclass(frozen=True, kw_only=True)
class GridOptions(SamplerOptions):
    """Generators by guidance strengths, with the nearest training images."""

    strengths: tuple[float, ...] = option((0.0, 1.0, 2.0), "guidance strengths, one block of columns each", low=0)
    of_class: str | None = option(None, "the class [default: the rarest]")
    images: int = option(3, "images of each generator and strength", low=1, high=100)


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """A figure that shows what evaluations hold as it is."""


@dataclass(frozen=True, kw_only=True)
class GuidanceOptions(SamplerOptions):
    """Quality against guidance strength."""

    strengths: tuple[float, ...] = option((0.0, 0.5, 1.0, 1.5, 2.0), "guidance strengths", low=0)
    extractor: str = _as_in(EvaluationOptions, "extractor")
    reference: str | None = _as_in(EvaluationOptions, "reference")
    samples: int = option(10_000, "images to generate at every strength, the same number of each class", small=2000, low=1)
    neighbours: int = _as_in(EvaluationOptions, "neighbours")
    sample_batch: int | None = _as_in(SamplingOptions, "sample_batch")
