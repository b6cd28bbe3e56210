"""Generators as others load them: published networks as the pipeline that they came from, ltaug's own as safetensors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ltaug.errors import MismatchError
from ltaug.fields import plain
from ltaug.files import write_json
from ltaug.generator.backbones.pretrained import KINDS, PretrainedNetwork
from ltaug.generator.generate import Generator
from ltaug.generator.pipeline import AUTOENCODER_PART, CONFIG, INDEX, NETWORK_PARTS, SCHEDULER, Pipeline
from ltaug.generator.trainee import final_weights
from ltaug.generator.tuning import merged, plain_key
from ltaug.records import GeneratorRecord


def write_pipeline(generator: Generator, pipeline: Pipeline | None, folder: Path) -> None:
    """Fill an empty folder with model_index.json, network, scheduler and autoencoder; converts the generator's network in place.

    Raises:
        MismatchError: the generator's network is ltaug's own, or the publisher's class has no place for its classes.
    """
    wrapper = generator.denoiser.backbone
    if not isinstance(wrapper, PretrainedNetwork):
        raise MismatchError(f"{generator.path} has a network of ltaug's own, which diffusers cannot load; give --to safetensors")
    import diffusers

    assert pipeline is not None, "its network is published"
    part = pipeline.part(*NETWORK_PARTS)
    config = pipeline.config(part, list(KINDS))
    weights = merged(wrapper.network).state_dict()
    state = {name: value.cpu() for key, value in weights.items() if (name := plain_key(key))}
    rows = torch.cat([wrapper.classes.weight, wrapper.nobody[None]]).detach().cpu()
    config, state = wrapper.kind.give(config, state, rows)
    cls: Any = getattr(diffusers, config["_class_name"])
    network = cls.from_config(config)
    network.load_state_dict(state)
    network.save_pretrained(folder / part.name)
    shutil.copytree((pipeline.folder / SCHEDULER).parent, folder / Path(SCHEDULER).parent)
    if pipeline.has_autoencoder:
        shutil.copytree(pipeline.folder / AUTOENCODER_PART, folder / AUTOENCODER_PART)
    index = pipeline.index | {"id2label": {str(row): name for row, name in enumerate(generator.class_names)}}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_weights(generator: Generator, pipeline: Pipeline | None, folder: Path) -> None:
    """Fill an empty folder with model.safetensors, the averaged weights, and config.json: options, classes, shape of images.

    Raises:
        MismatchError: the generator's network is a published one.
    """
    if isinstance(generator.denoiser.backbone, PretrainedNetwork):
        raise MismatchError(f"{generator.path} has a published network, of which it keeps what it tuned; give --to diffusers")
    made = GeneratorRecord.read(generator.path)
    shutil.copyfile(made.path / final_weights(made.options.steps), folder / "model.safetensors")
    about = {"options": plain(made.options), "class_names": made.class_names, "image_shape": made.image_shape}
    write_json(folder / CONFIG, about | {"steps": made.steps, "train": made.train_digest})
