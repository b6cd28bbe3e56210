"""Every option of every stage, once: frozen dataclass <-> recipe table <-> command-line flag.

A field's default is the paper's (or the field's) setting for images of 32 pixels and up; `small` is the setting for
images of at most SMALL_SIDE pixels, where the same networks would be absurdly large. Nothing else sets a default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ltaug import methods
from ltaug.errors import OptionError, nearest
from ltaug.fields import Owners, known_of, option, reads
from ltaug.learning import FINETUNE, FROZEN, PROBE
from ltaug.making import JUDGED, MakingOptions
from ltaug.selection import SelectionOptions
from ltaug.starting import StartingOptions

REFERENCES = ("train", "test", "balanced")
EVERYWHERE = (0.0, 1.0)  # a guidance interval that leaves nothing out
# Who reads an option.
CBDM, CORAL, AID = ({"objective": (term,)} for term in ("cbdm", "coral", "aid"))
UNET, VIT, PRETRAINED = ({"backbone": (name,)} for name in ("unet", "vit", "pretrained"))
TUNED = ("pretrained", True)  # beside it, defaults for fine-tuning what has been trained for long


def _reference(name: str) -> None:
    """Raise OptionError unless this is a dataset; the splits of the generator's own are REFERENCES."""
    try:
        methods.parse_dataset(name)
    except OptionError as error:
        raise OptionError(
            f"--reference {name!r} does not exist; {nearest(name, [*REFERENCES, *methods.dataset_forms()])}"
        ) from error


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which images, and the long-tailed draw from them."""

    dataset: str = option("digits", f"the images: {methods.dataset_names()}", check=methods.parse_dataset)
    imbalance: float = option(1.0, "images in the largest class over images in the smallest; 1 leaves the set as it is", low=1)
    profile: str = option("exp", "how class sizes fall: exponentially, or half head half tail", choices=("exp", "step"))
    head: int | None = option(None, "images in the largest class [default: as many as every class can give]", low=1)
    class_order: str = option("index", "which classes are the tail: the last or drawn by the seed", choices=("index", "shuffled"))
    image_size: int | None = option(None, "resize images to N x N pixels [default: as they are]", low=4)
    test_per_class: int | None = option(None, "images per class held out for testing where the set has no test split", low=1)


@dataclass(frozen=True, kw_only=True)
class GeneratorOptions:
    """The diffusion model and its training (DDPM, CBDM, T2H, CORAL)."""

    objective: str = option(
        "cbdm",
        f"what is minimised: one of {', '.join(methods.TARGETS)} and any of {', '.join(methods.REGULARISERS)}, as in t2h+cbdm",
        choices=methods.TERMS,
        joined=True,
        check=methods.terms_of,
    )
    label_set: str = option("train", "CBDM: how the other class y' is drawn", choices=("train", "bal", "sqrt"), owner=CBDM)
    tau: float = option(1.0, "CBDM: strength of the class-balancing term, times t/T", low=0, owner=CBDM)
    gamma: float = option(0.25, "CBDM: weight of the commitment half of the term", low=0, owner=CBDM)
    draws: int = option(1, "CBDM: other classes drawn for an image; their terms are averaged", low=1, owner=CBDM)
    pair_form: str = option(
        "weighted",
        "CBDM: pair every image, weighted by t/T, or pair it with probability t/T (half the second passes)",
        choices=("weighted", "sampled"),
        owner=CBDM,
    )
    pair_fraction: float = option(1.0, "CBDM: part of a batch that is paired, weighted up", low=0.01, high=1, owner=CBDM)
    coral_weight: float = option(0.01, "CORAL: strength of the contrastive term", low=0, owner=CORAL)
    coral_temperature: float = option(0.09, "CORAL: temperature of the similarities", low=0.01, owner=CORAL)
    coral_decay: float = option(1.0, "CORAL: the strength falls as exp((1 - t/T) / this)", low=0.05, owner=CORAL)
    coral_mode: str = option("paper", "CORAL: as in its paper or its code", choices=("paper", "released"), owner=CORAL)
    aid_weight: float = option(0.1, "AID: strength of the hinge that holds images at the rim of their class", low=0, owner=AID)
    aid_below: float = option(0.5, "AID: noise level sigma up to which it acts", low=0, owner=AID)
    pretrained: str | None = option(
        None,
        "fine-tune a published network: a folder with a pipeline of diffusers, or hf:ORG/NAME[@REVISION], with --download "
        "[default: a new network]",
        check="ltaug.generator.finding:check_pipeline",
        owner=PRETRAINED,
    )
    tune: str = option(
        "difffit",
        "what of the published network learns: biases, norms and new factors (difffit), everything (full), or new products of "
        "rank R beside its layers (lora:R)",
        choices=("difffit", "full"),
        check="ltaug.generator.tuning:check_tune",
        owner=PRETRAINED,
    )
    latent: str | None = option(
        None,
        "fit to the latents of a published autoencoder, in a folder of diffusers or hf:ORG/NAME[@REVISION] [default: to pixels]",
        check="ltaug.generator.finding:check_pipeline",
        owner={"pretrained": False},
    )
    backbone: str = option(
        "unet",
        "the network; pretrained is that of --pretrained",
        choices=(*methods.BACKBONES, "pretrained"),
        instead={TUNED: "pretrained"},
    )
    preconditioning: str = option(
        "vp",
        "noise levels, weights and scalings: DDPM's or EDM's",
        choices=methods.PRECONDITIONINGS,
        owner={"pretrained": False},
    )
    channels: int = option(128, "U-Net: channels at full resolution", small=16, low=1, owner=UNET)
    channel_mults: tuple[int, ...] = option(
        (1, 2, 2, 2), "U-Net: channel multiple of each resolution, finest first", small=(1, 2), owner=UNET
    )
    blocks: int = option(2, "U-Net: residual blocks per resolution", small=1, low=1, owner=UNET)
    attention: tuple[int, ...] = option((16,), "U-Net: image sides in pixels that get self-attention", small=(), owner=UNET)
    patch: int = option(2, "ViT: side in pixels of the patch that is one token", low=1, owner=VIT)
    depth: int = option(9, "ViT: transformer blocks", small=4, low=2, owner=VIT)
    heads: int = option(12, "ViT: attention heads of a block", small=4, low=1, owner=VIT)
    width: int = option(384, "ViT: channels of a token", small=64, low=4, owner=VIT)
    dropout: float = option(
        0.1,
        "dropout inside the network's blocks",
        small=0.0,
        low=0,
        high=0.99,
        owner={"backbone": True},
        instead={TUNED: 0.0},
    )
    sampling: str = option(
        "natural",
        "training images as they come, every class equally often (rs), or by the root of its count (rs-sqrt)",
        choices=methods.RESAMPLINGS,
    )
    steps: int = option(300_000, "training steps", small=1000, low=1, instead={TUNED: 20_000})
    batch_size: int = option(64, "images per step", low=1, instead={TUNED: 32})
    lr: float = option(2e-4, "Adam's learning rate after warm-up", small=2e-3, low=0, instead={TUNED: 1e-4})
    warmup: int = option(5000, "steps of linear warm-up", small=100, low=0, instead={TUNED: 500})
    grad_clip: float = option(1.0, "gradient norm is clipped at this", low=0)
    ema: float = option(
        0.9999, "decay of the weight average (EMA) used for sampling", small=0.995, low=0, high=1, instead={TUNED: 0.999}
    )
    label_dropout: float = option(0.1, "share of images trained without their label, which guidance needs", low=0, high=1)
    flip: bool = option(True, "mirror training images at random (ada always does)", small=False)
    augment: str = option(
        "none",
        "vary training images: ada by geometry, telling the network how; diffaug by colour, shift and cutout, untold",
        choices=methods.GENERATOR_AUGMENTATIONS,
    )
    checkpoint_every: int = option(5000, "steps between checkpoints", small=200, low=1)

    def __post_init__(self) -> None:
        """Raise OptionError for methods that do not go together."""
        if self.backbone == "pretrained" and self.pretrained is None:
            raise OptionError("--backbone pretrained is the network of --pretrained; give that, or another --backbone")
        moving = [t for t in methods.terms_of(self.objective) if t in methods.TARGETS and methods.TARGETS.about(t).moves_targets]
        if moving and methods.GENERATOR_AUGMENTATIONS.about(self.augment).tells_network:
            raise OptionError(
                f"--augment {self.augment} does not go with --objective {self.objective}: {moving[0]} moves targets between "
                f"images that were varied differently, and samples would show it; use --augment none or leave out {moving[0]}"
            )
        if (judged := methods.judged_terms(self.objective)) and self.augment != "none":
            raise OptionError(
                f"--augment {self.augment} does not go with --objective {self.objective}: {judged[0]} compares the varied images "
                f"with real ones as they are; use --augment none or leave out {judged[0]}"
            )


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """How a sampler goes from noise to an image, and where it is guided."""

    sampler: str = option("dpm++2m", "how noise becomes an image", choices=methods.SAMPLERS)
    variance: str = option(
        "fixedlarge",
        "ddpm: variance of a step, beta or the posterior's",
        choices=("fixedlarge", "fixedsmall"),
        owner={"sampler": ("ddpm",)},
    )
    sample_steps: int = option(20, "steps of the sampler", low=1)
    guidance_interval: tuple[float, ...] = option(
        EVERYWHERE,
        "guide only at t/T between these two (1 is pure noise); other steps take one pass instead of two",
        low=0,
        high=1,
        ascending=True,
        owner={"guidance": True, "choose_guidance": True},
    )


@dataclass(frozen=True, kw_only=True)
class GuidedOptions(SamplerOptions):
    """A sampler with one strength of guidance."""

    guidance: float = option(1.6, "classifier-free guidance w; 0 is none", small=0.0, low=0, owner={"choose_guidance": False})


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(GuidedOptions):
    """How a generator is sampled."""

    sample_batch: int | None = option(
        None, "sampling batch size; does not affect the images [default: 256; on a GPU what its free memory holds]", low=1
    )


def asking_judges() -> Owners:
    """The options of a synthesis that ask judges, with their values that do."""
    return {rule: True for rule in methods.RULES if methods.RULES.about(rule).needs_judges} | dict(JUDGED)


@dataclass(frozen=True, kw_only=True)
class SynthesisOptions(MakingOptions, SelectionOptions, SamplingOptions):
    """What is generated, and which of it is kept."""

    per_class_budget: str = option("fill:max", methods.budget_forms(), check="ltaug.data.budgets:check_budget")
    judges: int = option(2, "judges to train, where something asks them", low=1, owner=asking_judges())
    max_candidates: int = option(50, "candidates at most for each image wanted", low=1)
    withdraw: str | None = option(
        None,
        "file that names images to leave out, one a line: CLASS/000123 as in the manifest, or real:17 for all whose nearest "
        "training image is that one; the next candidates take their places (withdrawn)",
        check="ltaug.synthesis.withdrawal:check_withdrawal",
    )
    images_to: str = option(
        "folders",
        "class folders of PNG in OUT (folders), WebDataset shards in OUT (shards), or shards at an fsspec URL like s3://bucket/set",
        check="ltaug.synthesis.stores:check_store",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(SamplingOptions):
    """What a generator's images are compared with, and in which features."""

    extractor: str = option(
        "classifier",
        f"features to compare in: {', '.join(methods.EXTRACTORS)}; classifier is trained on the set before the draw, "
        "classifier:RUN is that run's; inception is FID's",
        choices=methods.EXTRACTORS,
        check=methods.extractor_of,
    )
    reference: str | None = option(
        None,
        "train, test, balanced (the set before the draw) or another dataset [default: balanced; without a draw, test]",
        choices=REFERENCES,
        check=_reference,
    )
    samples: int = option(50_000, "images to generate, the same number per class", small=2000, low=1)
    neighbours: int = option(5, "k of precision, recall, density and coverage", low=1)
    clusters: int = option(20, "clusters per class for F8 and F1/8", low=1)
    pairs: int = option(20, "closest pairs of a generated and a training image to show", low=1)


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(StartingOptions):
    """The classifier, its loss and its training."""

    sampling: str = option("natural", "real images as they come, or classes equally often", choices=methods.CLASSIFIER_SAMPLINGS)
    augment: str = option(
        "crop-flip",
        f"{', '.join(methods.CLASSIFIER_AUGMENTATIONS)}; one after the other as in crop-flip+randaugment",
        small="none",
        choices=methods.CLASSIFIER_AUGMENTATIONS,
        joined=True,
        instead={FINETUNE: "resized-crop+flip", FROZEN: "none"},
    )
    steps: int | None = option(None, "training steps; overrides --epochs", small=600, low=1, instead={PROBE: 2000})
    epochs: int = option(
        200,
        "passes over the real training images, without --steps; synthetic images add no steps",
        low=1,
        instead={FINETUNE: 100},
    )
    batch_size: int = option(128, "images per step", small=64, low=1, instead={FINETUNE: 32})
    optimizer: str = option(
        "sgd",
        "what takes the steps; adamw suits published weights",
        choices=methods.OPTIMIZERS,
        instead={FINETUNE: "adamw", PROBE: "adamw"},
    )
    lr: float = option(
        0.1, "learning rate after warm-up", small=0.05, low=0, instead={("optimizer", "adamw"): 5e-4, FINETUNE: 1e-3, PROBE: 5e-3}
    )
    momentum: float = option(0.9, "sgd: (Nesterov) momentum", low=0, high=1, owner={"optimizer": ("sgd",)})
    weight_decay: float = option(
        2e-4, "weight decay; adamw's is of weights alone", small=5e-4, low=0, instead={("optimizer", "adamw"): 0.05}
    )
    schedule: str = option(
        "step",
        "learning rate after warm-up: x0.1 at 80 % and at 90 %, or cosine",
        small="cosine",
        choices=methods.SCHEDULES,
        instead={FINETUNE: "cosine", PROBE: "cosine"},
    )
    warmup: float = option(0.025, "share of training spent on warm-up", low=0, high=0.5, instead={FINETUNE: 0.1})
    synthetic_weight: float = option(1.0, "weight of a synthetic image in the loss", low=0)
    synthetic_fraction: float | None = option(None, "synthetic share of a batch [default: as in the merged set]", low=0, high=1)

    def __post_init__(self) -> None:
        """Raise OptionError for batches that cannot be or that leave nothing to learn from; see also StartingOptions."""
        super().__post_init__()
        if self.freeze == "body" and self.augment not in ("none", "flip"):
            raise OptionError(
                f"--augment {self.augment} does not go with --freeze body, which computes features of an image once, and of its "
                "mirror image; use --augment none or flip"
            )
        fraction, size = self.synthetic_fraction, self.batch_size
        if self.loss == "proco" and size == 1:
            raise OptionError("--loss proco normalises features over a batch, and --batch-size is 1; use at least 2")
        if fraction is None:
            return
        if (wanted := round(fraction * size)) in (0, size) and fraction not in (0, 1):
            raise OptionError(f"--synthetic-fraction {fraction:g} of {size} images is {wanted}; raise --batch-size or use 0 or 1")
        if fraction == 1 and self.synthetic_weight == 0:
            raise OptionError("--synthetic-fraction 1 with --synthetic-weight 0 leaves nothing to learn from; change one")


def fit_judges_needed(given: Mapping[str, Any], named: Collection[Any] = ()) -> int:
    """How many judges the fit of a generator asks for.

    Args:
        given: GeneratorOptions by field name; what is missing has its default.
        named: judges that are given; OptionError where none is asked for.
    """
    objective = str(known_of(GeneratorOptions, given)["objective"])
    if named and not methods.judged_terms(objective):
        raise OptionError(f"--judge is read only with --objective {objective}+aid (it is {objective}); leave it out")
    return 1 if methods.judged_terms(objective) else 0


def judges_needed(given: Mapping[str, Any]) -> int:
    """How many judges a synthesis asks for: none unless one of `asking_judges` is switched on.

    Args:
        given: SynthesisOptions by field name; what is missing has its default.
    """
    known = known_of(SynthesisOptions, given)
    return int(known["judges"]) if reads(asking_judges(), known) else 0


def teachers_needed(given: Mapping[str, Any], *, synthetic: bool) -> int:
    """How many teachers a classifier asks for.

    Args:
        given: ClassifierOptions by field name; what is missing has its default.
        synthetic: whether images are added to the real ones, synthetic or resampled.
    """
    known = known_of(ClassifierOptions, given)
    return 0 if known["distill"] == "none" or (known["distill"] == "synthetic" and not synthetic) else int(known["teachers"])


# Judges see nothing but the real training images, so they learn from them as well as is known without synthesis. Which of these
# learners is better differs from draw to draw, so they take turns.
JUDGES: tuple[dict[str, Any], ...] = ({"loss": "logit-adjusted"}, {"loss": "ldam", "reweight_from": 0.8})
SMALL_JUDGE: dict[str, Any] = {"augment": "shift-rotate"}


def judge_options(index: int, *, small: bool, published: Mapping[str, Any]) -> dict[str, Any]:
    """The ClassifierOptions of judge `index`, with `published` weights (model and pretrained) of a probe of these.

    Args:
        small: images have at most SMALL_SIDE pixels.
    """
    own = {"preset": "probe", **published} if published else SMALL_JUDGE if small else {}
    return JUDGES[index % len(JUDGES)] | own


def judging(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `train_judge` is told where classifiers are trained with these options: any published weights that they start from."""
    weights = {name: given[name] for name in ("model", "pretrained") if name in given}
    return {"published": weights} if given.get("pretrained") is not None else {}


STAGES: dict[str, type] = {
    "fit-generator": GeneratorOptions,
    "evaluate-generator": EvaluationOptions,
    "synthesize": SynthesisOptions,
    "train-classifier": ClassifierOptions,
}
# The GeneratorOptions that a network's weights are bound to: fine-tuning takes them from the run it starts from.
NETWORK = (
    "backbone",
    "preconditioning",
    "latent",
    *(f.name for f in dataclasses.fields(GeneratorOptions) if isinstance(f.metadata["owner"].get("backbone"), tuple)),
)
