"""Every option of every stage, once: frozen dataclass <-> recipe table <-> command-line flag.

A field's default is the paper's (or the field's) setting for images of 32 pixels and up; `small` is the setting for
images of at most SMALL_SIDE pixels, where the same networks would be absurdly large. Nothing else sets a default.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ltaug.errors import OptionError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SMALL_SIDE = 16
EVERYWHERE = (0.0, 1.0)  # a guidance interval that leaves nothing out
_UNSET: Any = object()


def option(
    default: Any,
    help: str,
    *,
    small: Any = _UNSET,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    term: str | None = None,
    backbone: str | None = None,
    part: str = "",
) -> Any:
    """A dataclass field with its help text, its allowed values and, where it differs, its default for small images.

    `term` names the part of the objective that alone reads the option, `backbone` the network that does; elsewhere it is
    refused (objectives.settings_of, backbones.settings_of). `part` says which part of the work reads an option of Machine:
    a command offers those of its own parts.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "term": term, "backbone": backbone, "part": part}
    if small is not _UNSET:
        metadata["small"] = small
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which images, and the long-tailed draw from them."""

    dataset: str = option("digits", "digits, cifar10, cifar100, folder:PATH or a .npz file")
    imbalance: float = option(1.0, "images in the largest class over images in the smallest; 1 leaves the set as it is", low=1)
    profile: str = option("exp", "how class sizes fall: exponentially, or half head half tail", choices=("exp", "step"))
    head: int | None = option(None, "images in the largest class [default: as many as every class can give]", low=1)
    class_order: str = option("index", "which classes are the tail: the last or drawn by the seed", choices=("index", "shuffled"))
    image_size: int | None = option(None, "resize images to this many pixels a side [default: as they are]", low=4)
    test_per_class: int | None = option(None, "images a class held out for testing where the set has no test split", low=1)


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """The diffusion model and its training (DDPM, CBDM, T2H, CORAL)."""

    objective: str = option("cbdm", "what is minimised: ddpm, t2h, h2t or full; cbdm; coral; combined as in t2h+cbdm")
    label_set: str = option("train", "CBDM: how the other class y' is drawn", choices=("train", "bal", "sqrt"), term="cbdm")
    tau: float = option(1.0, "CBDM: strength of the class-balancing term, times t/T", low=0, term="cbdm")
    gamma: float = option(0.25, "CBDM: weight of the commitment half of the term", low=0, term="cbdm")
    draws: int = option(1, "CBDM: other classes drawn for an image; their terms are averaged", low=1, term="cbdm")
    pair_form: str = option(
        "weighted",
        "CBDM: pair every image, weighted by t/T, or pair it with probability t/T (half the second passes)",
        choices=("weighted", "sampled"),
        term="cbdm",
    )
    pair_fraction: float = option(1.0, "CBDM: part of a batch that is paired, weighted up", low=0.01, high=1, term="cbdm")
    coral_weight: float = option(0.01, "CORAL: strength of the contrastive term", low=0, term="coral")
    coral_temperature: float = option(0.09, "CORAL: temperature of the similarities", low=0.01, term="coral")
    coral_decay: float = option(1.0, "CORAL: the strength falls as exp((1 - t/T) / this)", low=0.05, term="coral")
    coral_mode: str = option("paper", "CORAL: as in its paper or its code", choices=("paper", "released"), term="coral")
    backbone: str = option("unet", "the network: unet or vit")
    preconditioning: str = option(
        "vp", "noise levels, their weights and the network's scalings: DDPM's or EDM's", choices=("vp", "edm")
    )
    channels: int = option(128, "U-Net: channels at full resolution", small=16, low=1, backbone="unet")
    channel_mults: tuple[int, ...] = option(
        (1, 2, 2, 2), "U-Net: channel multiple of each resolution, finest first", small=(1, 2), backbone="unet"
    )
    blocks: int = option(2, "U-Net: residual blocks a resolution", small=1, low=1, backbone="unet")
    attention: tuple[int, ...] = option((16,), "U-Net: image sides in pixels that get self-attention", small=(), backbone="unet")
    patch: int = option(2, "ViT: side in pixels of the patch that is one token", low=1, backbone="vit")
    depth: int = option(9, "ViT: transformer blocks", small=4, low=2, backbone="vit")
    heads: int = option(12, "ViT: attention heads of a block", small=4, low=1, backbone="vit")
    width: int = option(384, "ViT: channels of a token", small=64, low=4, backbone="vit")
    dropout: float = option(0.1, "dropout inside the network's blocks", small=0.0, low=0, high=0.99)
    sampling: str = option(
        "natural",
        "training images as they come, classes equally often (rs), or by the root of their counts (rs-sqrt)",
        choices=("natural", "rs", "rs-sqrt"),
    )
    steps: int = option(300_000, "training steps", small=1000, low=1)
    batch_size: int = option(64, "images a step", low=1)
    lr: float = option(2e-4, "Adam's learning rate after warm-up", small=2e-3, low=0)
    warmup: int = option(5000, "steps of linear warm-up", small=100, low=0)
    grad_clip: float = option(1.0, "largest norm of the gradient", low=0)
    ema: float = option(0.9999, "decay of the averaged weights that are sampled from", small=0.995, low=0, high=1)
    label_dropout: float = option(0.1, "share of images trained without their label, for guidance", low=0, high=1)
    flip: bool = option(True, "mirror training images at random (ada does it by itself)", small=False)
    augment: str = option(
        "none",
        "vary training images: geometry the network is told of (ada), or colour, shift and cutout it is not (diffaug)",
        choices=("none", "ada", "diffaug"),
    )
    checkpoint_every: int = option(5000, "steps between checkpoints", small=200, low=1)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a generator is sampled."""

    sampler: str = option("dpm++2m", "ddpm, ddim, heun or dpm++2m")
    sample_steps: int = option(20, "steps of the sampler", low=1)
    guidance: float = option(1.6, "classifier-free guidance w; 0 is plain conditional", small=0.0, low=0)
    guidance_interval: tuple[float, ...] = option(
        EVERYWHERE, "guide only at t/T between these two, 1 being noise; elsewhere one pass is saved", low=0, high=1
    )
    sample_batch: int | None = option(
        None, "images generated at a time, which does not change them [default: 256; on a GPU what its free memory holds]", low=1
    )


@dataclass(frozen=True, kw_only=True)
class SynthesisOptions(SamplingOptions):
    """What is generated, and which of it is kept."""

    per_class_budget: str = option("fill:max", "N a class, fill:N or fill:max (top real up), total:N, a CSV/JSON of class,count")
    select_agreement: bool = option(False, "keep an image only if every judge (a classifier of the real set) reads its label")
    select_distance: bool = option(False, "keep an image only inside its class's band of judge-feature distances")
    band: tuple[float, ...] = option((0.0, 0.95), "quantiles of the real distances that bound the band")
    drop_copies: bool = option(False, "drop images nearer to a real one than 1 % of real images are to each other")
    judges: int = option(2, "classifiers trained on the real set to judge images, where selection asks for them", low=1)
    max_candidates: int = option(50, "images generated at most for each one wanted", low=1)
    images_to: str = option(
        "folders",
        "class folders of PNG in OUT (folders), WebDataset shards in OUT (shards), or shards at an fsspec URL like s3://bucket/set",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(SamplingOptions):
    """What a generator's images are compared with, and in whose eyes."""

    extractor: str = option(
        "classifier",
        "whose features: classifier (trained on the set before the draw), classifier:RUN, pixels, inception (FID's) or dinov2",
    )
    reference: str | None = option(
        None, "train, test, balanced (the set before the draw) or another dataset [default: balanced; without a draw, test]"
    )
    samples: int = option(50_000, "images to generate, the same number of each class", small=2000, low=1)
    neighbours: int = option(5, "k of precision, recall, density and coverage", low=1)
    clusters: int = option(20, "clusters a class for F8 and F1/8", low=1)
    pairs: int = option(20, "closest pairs of a generated and a training image to show", low=1)


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions:
    """The classifier, its loss and its training."""

    model: str = option("resnet32", "resnet8 (small images), resnet20, 32, 44, 56 or a timm model's name", small="resnet8")
    loss: str = option("ce", "the loss on real images: ce, logit-adjusted, balanced-softmax")
    adjust_tau: float = option(1.0, "logit adjustment: strength of the log prior", low=0)
    sampling: str = option("natural", "real images as they come, or classes equally often", choices=("natural", "balanced"))
    augment: str = option("crop-flip", "none, shift, shift-rotate, crop-flip, randaugment", small="none")
    steps: int | None = option(None, "training steps, the same whatever the arm's size; overrides --epochs", small=600, low=1)
    epochs: int = option(200, "passes over the training images, where --steps is not given", low=1)
    batch_size: int = option(128, "images a step", small=64, low=1)
    lr: float = option(0.1, "SGD's learning rate after warm-up", small=0.05, low=0)
    momentum: float = option(0.9, "SGD's (Nesterov) momentum", low=0, high=1)
    weight_decay: float = option(2e-4, "weight decay", small=5e-4, low=0)
    schedule: str = option(
        "step", "learning rate after warm-up: x0.1 at 80 % and at 90 %, or cosine", small="cosine", choices=("step", "cosine")
    )
    warmup: float = option(0.025, "share of training that warms up", low=0, high=0.5)
    synthetic_weight: float = option(1.0, "weight of a synthetic image in the loss", low=0)
    synthetic_fraction: float | None = option(None, "share of every batch that is synthetic [default: as merged]", low=0, high=1)


# The parts of the work that read options of Machine: which a command has says which of them it offers.
READING, COMPUTING, NETWORKS, FITTING = "reading", "computing", "networks", "fitting"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is not part of the experiment: where it runs, how it is computed, where data lies, what to do about bad files.

    It stands here, not beside the stages, so that the command line can read it without loading torch.
    """

    device: str = option(
        "auto", "where to compute; auto takes CUDA if there is one", choices=("auto", "cpu", "cuda"), part=COMPUTING
    )
    threads: int | None = option(None, "CPU threads [default: all cores; in parallel workers 1]", low=1, part=COMPUTING)
    data_dir: Path | None = option(  # noqa: RUF009
        None, "where downloaded sets and weights are kept [default: ~/.cache/ltaug/datasets]", part=READING
    )
    download: bool = option(False, "allow cifar10, cifar100 and published weights to be downloaded", part=READING)
    skip_bad: bool = option(False, "leave unreadable images out instead of stopping", part=READING)
    precision: str = option(
        "auto",
        "of networks; auto is bf16 on CUDA and, for images above 16 px, on CPUs that multiply in it",
        choices=("auto", "fp32", "bf16"),
        part=NETWORKS,
    )
    compile: str = option(
        "auto",
        "torch.compile, and on CUDA a graph of a classifier's step; auto is on CUDA, where the work is long enough",
        choices=("auto", "yes", "no"),
        part=NETWORKS,
    )
    micro_batch: int | None = option(
        None, "images through the generator at a time: less memory, the same step [default: the whole batch]", low=1, part=FITTING
    )
    checkpoint_activations: bool = option(
        False, "less memory for a third more time: compute the generator's blocks again backwards", part=FITTING
    )
    plain: bool = option(
        False, "fit the generator the slow, naive way, as a reference: float32, a pass per conditioning, loops", part=FITTING
    )


# Judges see nothing but the real training images, so they learn from them as well as is known without synthesis.
JUDGE: dict[str, Any] = {"loss": "logit-adjusted"}
SMALL_JUDGE: dict[str, Any] = {"augment": "shift-rotate"}


STAGES: dict[str, type] = {
    "fit-generator": GeneratorOptions,
    "evaluate-generator": EvaluationOptions,
    "synthesize": SynthesisOptions,
    "train-classifier": ClassifierOptions,
}
# The GeneratorOptions that a network's weights are bound to: fine-tuning takes them from the run it starts from.
NETWORK = ("backbone", "preconditioning", *(f.name for f in dataclasses.fields(GeneratorOptions) if f.metadata["backbone"]))
Options = TypeVar("Options", bound="DataclassInstance")


def nearest(name: str, names: typing.Iterable[str]) -> str:
    """'; did you mean X?' for the closest of `names`, or the whole list when none is close."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(names))}"


def field_types(cls: type) -> dict[str, tuple[type, bool, bool]]:
    """For each field: its element type, whether it is a tuple and whether None is allowed."""
    found: dict[str, tuple[type, bool, bool]] = {}
    for name, hint in typing.get_type_hints(cls).items():
        optional = isinstance(hint, types.UnionType)
        if optional:
            hint = next(a for a in typing.get_args(hint) if a is not type(None))
        many = typing.get_origin(hint) is tuple
        found[name] = (typing.get_args(hint)[0] if many else hint, many, optional)
    return found


def _converted(cls: type, name: str, value: Any, where: str) -> Any:
    """`value` as the field's type, checked against its choices and limits, or OptionError."""
    element, many, optional = field_types(cls)[name]
    flag = name.replace("_", "-")
    if value is None and optional:
        return None
    if many:
        if not isinstance(value, list | tuple):
            raise OptionError(f"{where}: {flag} = {value!r} is not a list")
        return tuple(_checked(cls, name, v, element, where) for v in value)
    return _checked(cls, name, value, element, where)


def _checked(cls: type, name: str, value: Any, element: type, where: str) -> Any:
    metadata = cls.__dataclass_fields__[name].metadata  # type: ignore[attr-defined]
    flag = name.replace("_", "-")
    if element is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if element is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # per-class-budget = 500
    if not isinstance(value, element) or (element is not bool and isinstance(value, bool)):
        raise OptionError(f"{where}: {flag} = {value!r} is not a {element.__name__}")
    if metadata["choices"] and value not in metadata["choices"]:
        raise OptionError(f"{where}: {flag} = {value!r}: {nearest(str(value), metadata['choices'])}")
    low, high = metadata["low"], metadata["high"]
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"{where}: {flag} = {value!r} must be a finite number")
    if element in (int, float) and not ((low is None or value >= low) and (high is None or value <= high)):
        limit = f"at least {low}" if high is None else f"between {low} and {high}"
        raise OptionError(f"{where}: {flag} = {value!r} must be {limit}")
    return value


def check(cls: type, given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`given` with keys as field names and values of the fields' types.

    Args:
        given: keys spelt as flags (kebab-case) or as fields.
        where: what to name in an error, such as "recipe digits-lt, [synthesize]".

    Raises:
        OptionError: an unknown key (the nearest name is suggested), a wrong type or a value outside its limits.
    """
    names = [f.name for f in dataclasses.fields(cls)]
    checked: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in names:
            raise OptionError(f"{where}: unknown key {key!r}; {nearest(key, [n.replace('_', '-') for n in names])}")
        checked[name] = _converted(cls, name, value, where)
    return checked


def resolve(cls: type[Options], given: Mapping[str, Any], *, image_side: int, where: str = "options") -> Options:
    """The stage's options: what was given, over the defaults for images of this size.

    Args:
        image_side: the larger of height and width in pixels; decides between the standard and the small defaults.
    """
    values = check(cls, given, where=where)
    for f in dataclasses.fields(cls):
        if f.name not in values and image_side <= SMALL_SIDE and "small" in f.metadata:
            values[f.name] = f.metadata["small"]
    return cls(**values)
