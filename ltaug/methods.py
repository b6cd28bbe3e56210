"""Every component that has a name: what a person may write, and where it is. A new one is its file and one line here.

A component is imported when it is first used, so the command line, recipes and the parent of `ltaug run` know every name
without loading torch.
"""

from __future__ import annotations

from collections import ChainMap
from pathlib import Path
from typing import Any

from ltaug.errors import OptionError, nearest
from ltaug.registry import Entry, Registry


def _cbdm_passes(*, draws: int, pair_form: str, pair_fraction: float, **settings: Any) -> float:
    return draws * pair_fraction * (0.5 if pair_form == "sampled" else 1.0)


# What a generator minimises: factory(class_counts, **settings) -> TargetRule,
# and factory(class_counts, feature_channels, **settings) -> Regulariser or Comparison; with needs_judges also judged=.
TARGETS = Registry(
    "--objective",
    {
        "ddpm": "ltaug.generator.objectives.terms:ddpm",
        "t2h": Entry(where="ltaug.generator.objectives.t2h:t2h", moves_targets=True),
        "h2t": Entry(where="ltaug.generator.objectives.t2h:h2t", moves_targets=True),
        "full": Entry(where="ltaug.generator.objectives.t2h:full", moves_targets=True),
    },
)
REGULARISERS = Registry(
    "--objective",
    {
        "cbdm": Entry(where="ltaug.generator.objectives.cbdm:CBDM", passes=_cbdm_passes),
        "coral": Entry(where="ltaug.generator.objectives.coral:CORAL", compares=True),
        "aid": Entry(where="ltaug.generator.objectives.aid:AID", needs_judges=True),
    },
)
TERMS = ChainMap[str, Any](TARGETS, REGULARISERS)  # type: ignore[arg-type]  # read only
BACKBONES = Registry(
    "--backbone",
    {
        "unet": "ltaug.generator.backbones.unet:UNet",
        "vit": "ltaug.generator.backbones.vit:ViT",
    },
)
PRECONDITIONINGS = Registry(
    "--preconditioning", {"vp": "ltaug.generator.preconditioning:VP", "edm": "ltaug.generator.preconditioning:EDM"}
)
# The power of n_c that a class's share of training is proportional to; 1 is the set as it is.
RESAMPLINGS: dict[str, float] = {"natural": 1.0, "rs": 0.0, "rs-sqrt": 0.5}
GENERATOR_AUGMENTATIONS = Registry(
    "--augment",
    {
        "none": "ltaug.generator.augmentations:NONE",
        "ada": Entry(where="ltaug.generator.augmentations.ada:ADA", tells_network=True),
        "diffaug": "ltaug.generator.augmentations.diffaug:DIFFAUG",
    },
)
# (denoise, x, sigmas, noise, **settings) -> x
SAMPLERS = Registry(
    "--sampler",
    {
        "ddpm": "ltaug.generator.samplers:ddpm",
        "ddim": "ltaug.generator.samplers:ddim",
        "heun": "ltaug.generator.samplers:heun",
        "dpm++2m": "ltaug.generator.samplers:dpmpp_2m",
    },
)
# factory(num_classes=, in_chans=) -> nn.Module; timm's models need no line here.
MODELS = Registry("--model", {f"resnet{depth}": f"ltaug.classifier.models:resnet{depth}" for depth in (8, 20, 32, 44, 56)})
# factory(class_counts, **settings) -> loss(logits, labels, sources)
LOSSES = Registry(
    "--loss",
    {
        "ce": "ltaug.classifier.losses:cross_entropy",
        "logit-adjusted": Entry(where="ltaug.classifier.losses:logit_adjusted", balances=True),
        "balanced-softmax": Entry(where="ltaug.classifier.losses:balanced_softmax", balances=True),
        "ldam": Entry(where="ltaug.classifier.losses:ldam", head="cosine"),
        "proco": Entry(where="ltaug.classifier.losses:logit_adjusted", balances=True, head="vmf"),
    },
)
# (batch, **settings) -> batch; with donors (batch, donors, **settings) -> batch
CLASSIFIER_AUGMENTATIONS = Registry(
    "--augment",
    {
        "none": "ltaug.classifier.augment:keep",
        "shift": "ltaug.classifier.augment:shift",
        "shift-rotate": "ltaug.classifier.augment:shift_rotate",
        "crop-flip": "ltaug.classifier.augment:crop_flip",
        "flip": "ltaug.classifier.augment:flip",
        "resized-crop": "ltaug.classifier.cropping:resized_crop",
        "erase": "ltaug.classifier.cropping:erase",
        "randaugment": "ltaug.classifier.augment:randaugment",
        "mixup": "ltaug.classifier.mixing:mixup",
        "remix": "ltaug.classifier.mixing:remix",
        "cutmix": "ltaug.classifier.mixing:cutmix",
        "cmo": Entry(where="ltaug.classifier.mixing:cmo", donors=True),
        "class-mixup": "ltaug.classifier.mixing:class_mixup",
        "class-cutmix": "ltaug.classifier.mixing:class_cutmix",
    },
)
# classifier.batches.RealSampling
CLASSIFIER_SAMPLINGS = Registry(
    "--sampling", {"natural": "ltaug.classifier.batches:NATURAL", "balanced": "ltaug.classifier.batches:BALANCED"}
)
# (network, lr=, weight_decay=, layer_decay=, **settings) -> torch.optim.Optimizer
OPTIMIZERS = Registry("--optimizer", {"sgd": "ltaug.classifier.optimizers:sgd", "adamw": "ltaug.classifier.optimizers:adamw"})
# share of training behind -> factor of the learning rate
SCHEDULES = Registry(
    "--schedule", {"step": "ltaug.classifier.schedules:step_decay", "cosine": "ltaug.classifier.schedules:cosine_decay"}
)
# (steps taken, all steps, **settings) -> weight of the newest weights in the average
AVERAGES = Registry("--average", {"none": None, "ema": "ltaug.classifier.averaging:ema", "swa": "ltaug.classifier.averaging:swa"})
# What images of a synthesis start from, besides noise: pool(real) -> for each class the indices of its real images (K arrays)
STARTS = Registry(
    "--start",
    {
        "real": "ltaug.synthesis.starts:own",
        "confusable": Entry(where="ltaug.synthesis.starts:confusable", needs_judges=True),
    },
)
# What images climb as they are made: (logits of a judge, labels) -> one value per image
CRITERIA = Registry(
    "--guide",
    {
        "loss": "ltaug.synthesis.guidance:loss",
        "entropy": "ltaug.synthesis.guidance:entropy",
    },
)
# What is rejected of a synthesis, under the option that switches the rule on: fit(real, **settings) -> synthesis.select.Rule, or
# several, a word each. Of several rules that reject an image the first here gives the verdict.
RULES = Registry(
    "selection rule",
    {
        "select_agreement": Entry(where="ltaug.synthesis.rules:agreement", needs_judges=True),
        "select_distance": Entry(where="ltaug.synthesis.rules:distance", needs_judges=True),
        "select_diffult": Entry(where="ltaug.synthesis.rules:diffult", needs_judges=True),
        "select_prototype": Entry(where="ltaug.synthesis.rules:prototype", needs_judges=True),
        "select_confidence": Entry(where="ltaug.synthesis.rules:confidence", needs_judges=True),
        "select_margin": Entry(where="ltaug.synthesis.rules:margin", needs_judges=True),
        "drop_copies": "ltaug.synthesis.rules:copies",
    },
)
# Where progress is recorded: sink(run directory, label) -> function of an Event; if it has a `close`, that is called at the end.
SINKS = Registry(
    "--log",
    {
        "jsonl": "ltaug.sinks:jsonl",
        "csv": "ltaug.sinks:long_csv",
    },
)
# Where progress, figures and reports also go, by the package that each needs: a sink, as above.
TRACKERS = Registry("--track", {name: f"ltaug.trackers:{name}" for name in ("tensorboard", "wandb", "mlflow", "trackio")})
# Forms of --per-class-budget, FORM:AMOUNT; "" is a plain number: form(amount, class_counts, where) -> images for each class.
FORMS = Registry(
    "--per-class-budget",
    {
        "": Entry(where="ltaug.data.budgets:each", about="N images per class"),
        "fill": Entry(
            where="ltaug.data.budgets:fill",
            about="fill:N generates until real + synthetic reach N, fill:max until the largest class, fill:6x until six times "
            "the class's real images or the largest class",
        ),
        "cap": Entry(where="ltaug.data.budgets:cap", about="cap:N is fill:max with at most N images per class"),
        "total": Entry(where="ltaug.data.budgets:total", about="total:N in all, rarest classes first"),
    },
)
# Sets of torchvision: the class in torchvision.datasets, and its arguments for the training split and for the test split, if any.
_FLAG: tuple[dict[str, Any], ...] = ({"train": True}, {"train": False})
_SPLIT: tuple[dict[str, Any], ...] = ({"split": "train"}, {"split": "test"})
_TRAINVAL: tuple[dict[str, Any], ...] = ({"split": "trainval"}, {"split": "test"})
VISION: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    "cifar10": ("CIFAR10", _FLAG),
    "cifar100": ("CIFAR100", _FLAG),
    "mnist": ("MNIST", _FLAG),
    "fashion-mnist": ("FashionMNIST", _FLAG),
    "kmnist": ("KMNIST", _FLAG),
    "svhn": ("SVHN", _SPLIT),
    "stl10": ("STL10", _SPLIT),
    "eurosat": ("EuroSAT", ({},)),
    "gtsrb": ("GTSRB", _SPLIT),
    "dtd": ("DTD", _SPLIT),
    "flowers102": ("Flowers102", _SPLIT),
    "food101": ("Food101", _SPLIT),
    "oxford-pets": ("OxfordIIITPet", _TRAINVAL),
    "fgvc-aircraft": ("FGVCAircraft", _TRAINVAL),
}
# Request -> Splits
SOURCES = Registry(
    "--dataset",
    {
        "digits": "ltaug.data.sources:read_digits",
        **dict.fromkeys(VISION, "ltaug.data.vision:read_vision"),
        "folder": Entry(where="ltaug.data.folder:read_folder", path="PATH"),
        "table": Entry(where="ltaug.data.table:read_table", path="FILE"),
        "hf": Entry(where="ltaug.data.hub:read_hub", path="NAME[@REVISION] or hf:DIR"),
        "shards": Entry(where="ltaug.data.archives:read_archives", path="DIR or shards:URL"),
        "arrays": Entry(where="ltaug.data.sources:read_arrays", suffix=".npz"),
    },
)
# (exporting.merged.Merged, empty folder) -> exporting.layouts.Written
LAYOUTS = Registry(
    "--to",
    {
        "imagefolder": "ltaug.exporting.layouts:image_folder",
        "parquet": "ltaug.exporting.layouts:parquet",
        "hf": "ltaug.exporting.layouts:saved",
        "webdataset": "ltaug.exporting.layouts:webdataset",
    },
)
# (generator.generate.Generator, its generator.pipeline.Pipeline or None, empty folder)
GENERATOR_LAYOUTS = Registry(
    "--to",
    {
        "diffusers": "ltaug.generator.exporting:write_pipeline",
        "safetensors": "ltaug.generator.exporting:write_weights",
    },
)
# evaluation.extractors.BuiltIn, but for the classifier, which stages train or load.
EXTRACTORS = Registry(
    "--extractor",
    {
        "classifier": None,
        "pixels": "ltaug.evaluation.extractors:PIXELS",
        "inception": "ltaug.evaluation.extractors:INCEPTION",
        "dinov2": "ltaug.evaluation.extractors:DINOV2",
    },
)


def terms_of(objective: str) -> list[str]:
    """The terms that an objective's name spells, such as ["t2h", "cbdm"] for "t2h+cbdm".

    Raises:
        OptionError: an unknown term, a term twice, or two target rules.
    """
    parts = objective.split("+")
    for part in parts:
        if part not in TERMS:
            raise OptionError(f"--objective {objective!r}: unknown term {part!r}; {nearest(part, [*TARGETS, *REGULARISERS])}")
    if len(set(parts)) < len(parts):
        raise OptionError(f"--objective {objective!r} names a term twice; name each once")
    targets = [p for p in parts if p in TARGETS]
    if len(targets) > 1:
        raise OptionError(f"--objective {objective!r} has {len(targets)} target rules; keep one of {', '.join(targets)}")
    return parts


def judged_terms(objective: str) -> list[str]:
    """Those of its terms that need judges."""
    return [term for term in terms_of(objective) if term in REGULARISERS and REGULARISERS.about(term).needs_judges]


def budget_forms() -> str:
    """How budgets are written, for help and errors."""
    return "; ".join([*(FORMS.about(form).about for form in FORMS), "or a CSV/JSON of class,count"])


def dataset_names() -> str:
    """How datasets are written, for help and errors."""
    return ", ".join(dataset_forms())


def dataset_forms() -> list[str]:
    """The same, one by one."""
    entries = {name: SOURCES.about(name) for name in SOURCES}
    return [f"{name}:{e.path}" if e.path else f"a {e.suffix} file" if e.suffix else name for name, e in entries.items()]


def parse_dataset(dataset: str) -> tuple[str, str]:
    """The name in SOURCES of a dataset as a person writes it, and what the source is to read.

    Raises:
        OptionError: it is none of `dataset_names`.
    """
    head, _, argument = dataset.partition(":")
    for name in SOURCES:
        entry = SOURCES.about(name)
        if entry.suffix and dataset.lower().endswith(entry.suffix):
            return name, dataset
        if head == name and not entry.suffix and bool(entry.path) == bool(argument):
            return name, argument if entry.path else dataset
    if not dataset or (head in SOURCES and SOURCES.about(head).path):
        raise OptionError(f"--dataset {dataset!r} names nothing; write {dataset_names()}")
    if Path(dataset).expanduser().is_dir():
        raise OptionError(f"--dataset {dataset!r} is a folder; write folder:{dataset}")
    raise OptionError(f"--dataset {dataset!r} does not exist; {nearest(dataset, dataset_forms())}")


def extractor_of(extractor: str) -> tuple[str, str]:
    """The name in EXTRACTORS, and the run that classifier:RUN names or "".

    Raises:
        OptionError: no such extractor, or a run of one that is none.
    """
    name, colon, run = extractor.partition(":")
    if colon and (name != "classifier" or not run):
        raise OptionError(f"--extractor {extractor!r}: a run can be named for a classifier only, as in classifier:runs/clf")
    if name not in EXTRACTORS:
        raise OptionError(f"--extractor {extractor!r} does not exist; {nearest(name, [*EXTRACTORS, 'classifier:RUN'])}")
    return name, run
