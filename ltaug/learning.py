"""Options of how a classifier learns: its loss, what mixes images, flat minima, averages, teachers and a second stage."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug import methods
from ltaug.errors import OptionError
from ltaug.fields import option

DISTILLED = ("synthetic", "real", "all")  # --distill
REFITTED = ("head", "last", "all")  # --refit
PRESETS = ("scratch", "finetune", "probe")
FINETUNE, PROBE = (("preset", name) for name in PRESETS[1:])  # what defaults depend on (fields.option, `instead`)
FROZEN = ("freeze", "body")


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """The part of ClassifierOptions that belongs to long-tail methods."""

    loss: str = option("ce", "the loss", choices=methods.LOSSES)
    adjust_tau: float = option(1.0, "logit-adjusted: strength of the log prior", low=0, owner={"loss": ("logit-adjusted",)})
    ldam_margin: float = option(0.5, "ldam: margin of the rarest class, as a cosine", low=0, high=1, owner={"loss": ("ldam",)})
    reweight_from: float = option(
        1.0, "DRW: weight real images by class after this share of training; 1 never does", low=0, high=1
    )
    label_smoothing: float = option(
        0.0,
        "share of an image's label that is spread over all classes; a second stage has its own",
        low=0,
        high=0.99,
        instead={FINETUNE: 0.1},
    )
    crop_scale: float = option(
        0.08,
        "resized-crop: least share of an image's area that a crop shows",
        low=0.01,
        high=1,
        owner={"augment": ("resized-crop",)},
    )
    mixup_alpha: float = option(
        1.0,
        "images are mixed with weights from Beta(alpha, alpha)",
        low=0.05,
        owner={"augment": ("mixup", "remix", "class-mixup")},
    )
    cutmix_alpha: float = option(
        1.0,
        "the part of an image that stays is drawn from Beta(alpha, alpha)",
        low=0.05,
        owner={"augment": ("cutmix", "cmo", "class-cutmix")},
    )
    sam_rho: float = option(
        0.0, "SAM: take the gradient this far uphill, in two passes a step; 0 takes it where the weights are", low=0
    )
    average: str = option("none", "what training ends with: the last weights, or an average of them", choices=methods.AVERAGES)
    ema_decay: float = option(0.999, "ema: decay per step", small=0.99, low=0, high=1, owner={"average": ("ema",)})
    swa_after: float = option(
        0.75, "swa: average all steps after this share of training", low=0, high=0.99, owner={"average": ("swa",)}
    )
    tau_norm: float = option(
        0.0, "after training, divide each class's weights by their norm to this power and drop the bias", low=0, high=2
    )

    prior: str = option(
        "source",
        "the log prior that adjusted losses add: of an image's own source, or of the merged set",
        choices=("source", "merged"),
    )
    distill: str = option(
        "none",
        "images that learn from teachers as well, classifiers of the real images: none, synthetic, real or all",
        choices=("none", "synthetic", "real", "all"),
    )
    teachers: int = option(5, "distill: teachers to train", low=1, owner={"distill": DISTILLED})
    distill_weight: float = option(
        0.5, "distill: weight of the soft labels; the rest is the loss", low=0, high=1, owner={"distill": DISTILLED}
    )
    distill_temperature: float = option(2.0, "distill: temperature of soft labels", low=0.05, owner={"distill": DISTILLED})
    distill_power: float = option(
        1.0,
        "distill: soft labels to this power; below 1 is flatter over classes (DiVE: 0.5)",
        low=0.05,
        owner={"distill": DISTILLED},
    )
    refit: str = option(
        "none",
        "a second stage: what of the network is trained on (none, head, last stage and head, all)",
        choices=("none", *REFITTED),
    )
    refit_share: float = option(
        0.2, "refit: share of the steps that are the second stage", low=0.01, high=0.99, owner={"refit": REFITTED}
    )
    refit_on: str = option("real", "refit: images", choices=("real", "merged"), owner={"refit": REFITTED})
    refit_loss: str = option("logit-adjusted", "refit: the loss", choices=methods.LOSSES, owner={"refit": REFITTED})
    refit_sampling: str = option(
        "natural",
        "refit: real images as they come, or classes equally often",
        choices=methods.CLASSIFIER_SAMPLINGS,
        owner={"refit": REFITTED},
    )
    refit_lr: float = option(
        0.005,
        "refit: learning rate, which falls as a cosine",
        low=0,
        owner={"refit": REFITTED},
        instead={("optimizer", "adamw"): 2.5e-5},
    )
    refit_smoothing: float = option(
        0.0,
        "refit: label smoothing of the largest class; between it and the rarest as a sine",
        low=0,
        high=1,
        owner={"refit": REFITTED},
    )
    refit_smoothing_rarest: float = option(
        0.0, "refit: label smoothing of the rarest class", low=0, high=1, owner={"refit": REFITTED}
    )
    refit_fusion: float = option(
        0.0,
        "refit: share of each image's features that is another image's, drawn from all as they come (H2T: 0.25)",
        low=0,
        high=1,
        owner={"refit": REFITTED},
    )

    def __post_init__(self) -> None:
        """Raise OptionError where --tau-norm has no norms to work on, or a second stage's loss lacks its kind of last layer."""
        if self.tau_norm and self.loss in methods.LOSSES and (head := methods.LOSSES.about(self.loss).head) != "linear":
            raise OptionError(
                f"--tau-norm {self.tau_norm:g} does not go with --loss {self.loss}: its {head} head has no norms; "
                "use --tau-norm 0 or another loss"
            )
        known = self.loss in methods.LOSSES and self.refit_loss in methods.LOSSES
        if known and (head := methods.LOSSES.about(self.refit_loss).head) not in ("linear", methods.LOSSES.about(self.loss).head):
            raise OptionError(
                f"--refit-loss {self.refit_loss} needs a {head} head, which --loss {self.loss} does not give the network; "
                f"use --loss {self.refit_loss} or another --refit-loss"
            )
