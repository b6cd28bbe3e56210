"""Options of what a classifier starts from, random or published weights, and of how much of these learns."""

from __future__ import annotations

from dataclasses import dataclass

from ltaug import methods
from ltaug.errors import OptionError
from ltaug.fields import option
from ltaug.learning import FINETUNE, FROZEN, PRESETS, PROBE, LearningOptions

WHOLE = {"freeze": ("none",)}  # who reads an option of a whole network that learns


@dataclass(frozen=True, kw_only=True)
class StartingOptions(LearningOptions):
    """The part of ClassifierOptions that belongs to the network and its first weights."""

    preset: str = option(
        "scratch",
        "a name for defaults of other options: finetune's train published weights further, probe's a last layer on top of them",
        choices=PRESETS,
    )
    model: str = option(
        "resnet32",
        f"{', '.join(methods.MODELS)} or a timm model's name",
        small="resnet8",
        choices=methods.MODELS,
        check="ltaug.classifier.models:require_timm",
    )
    pretrained: str | None = option(
        None,
        "start from published weights of timm's --model: a file (.safetensors, .pth), a folder with model.safetensors, or hub, "
        "with --download [default: random weights]",
        choices=("hub",),
        check="ltaug.classifier.pretrained:weights_file",
    )
    freeze: str = option(
        "none",
        "what keeps its published weights: nothing (none), or all but the last layer (body), which then learns from features "
        "that are computed once",
        choices=("none", "body"),
        instead={PROBE: "body"},
    )
    drop_path: float = option(
        0.0,
        "rate at which the deepest residual block is left out in training, others less; of a timm --model that knows it",
        low=0,
        high=0.99,
        owner=WHOLE,
        instead={FINETUNE: 0.1, FROZEN: 0.0},
    )
    layer_decay: float = option(
        1.0,
        "learning rate of a layer over that of the layer above it",
        low=0.01,
        high=1,
        owner=WHOLE,
        instead={FINETUNE: 0.75, FROZEN: 1.0},
    )

    def __post_init__(self) -> None:
        """Raise OptionError for weights that nobody loads, and for what the network or a frozen body cannot do."""
        super().__post_init__()
        architecture, tagged, _ = self.model.partition(".")
        if tagged and self.pretrained is None:
            raise OptionError(
                f"--model {self.model} names published weights, and without --pretrained training starts from random ones; "
                f"use --pretrained, or --model {architecture}"
            )
        for flag, chosen, whole in (("preset", self.preset, "scratch"), ("freeze", self.freeze, "none")):
            if self.pretrained is None and chosen != whole:
                raise OptionError(f"--{flag} {chosen} is for published weights; give some with --pretrained, or leave it out")
        for flag, value, none in (("layer-decay", self.layer_decay, 1), ("drop-path", self.drop_path, 0)):
            if self.model in methods.MODELS and value != none:
                raise OptionError(
                    f"--{flag} {value:g} does not go with --model {self.model}, which is not timm's; "
                    "use a timm model's name, or leave it out"
                )
        if self.model in methods.MODELS and self.pretrained is not None:
            raise OptionError(
                f"--pretrained {self.pretrained} does not go with --model {self.model}, of which nobody published weights; "
                "use a timm model's name, or leave it out"
            )
        for flag, chosen, possible in (("distill", self.distill, ("none",)), ("refit", self.refit, ("none", "head"))):
            if self.freeze == "body" and chosen not in possible:
                raise OptionError(
                    f"--{flag} {chosen} does not go with --freeze body, with which only a last layer learns, from features; "
                    f"use --{flag} {' or '.join(possible)}"
                )
