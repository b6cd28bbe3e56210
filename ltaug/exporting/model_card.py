"""The README.md beside a generator's exported weights: what it was fitted to and how, what it memorised, how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ltaug.records import GeneratorRecord

TEXT = """---
library_name: {library}
{licence}tags: [long-tailed, ltaug]
---
# A generator of images of {classes} classes

A diffusion model that ltaug fitted to {images} real images of {source}
(SHA-256 `{digest}`) in {steps} steps of {objective}{base}, with the options

    {options}

An image has {shape} values. Classes by number, with their real images: {names}.

## Memorisation

{memorisation}

## Licence

The licence of the real images holds here too; ltaug knows nothing of it. {outside}

## To load it

{loading}
"""
LOADERS = {
    "diffusers": "With the class in diffusers that model_index.json names, such as `DiTPipeline.from_pretrained(DIR)`.",
    "safetensors": """`pip install ltaug`, and here:

```python
import json

from safetensors.torch import load_file

from ltaug.generator.finding import find_named
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import generate
from ltaug.options import GeneratorOptions
from ltaug.runtime import make_runtime

with open("config.json") as file:
    config = json.load(file)
options, names, shape = GeneratorOptions(**config["options"]), config["class_names"], tuple(config["image_shape"])
autoencoder = find_named(options, download=True)  # None, unless it makes latents
network = build_denoiser(options, image_shape=shape, num_classes=len(names), pipeline=autoencoder)
network.load_state_dict(load_file("model.safetensors"))

runtime = make_runtime()  # a GPU if there is one
keys = [(number, index) for number in range(len(names)) for index in range(8)]
images = generate(network.eval().to(runtime.device), keys, image_shape=shape, seed=0, runtime=runtime)  # uint8 (N, C, H, W)
```""",
}


def model_card(made: GeneratorRecord, options: str, measured: Mapping[str, Any] | None, *, to: str) -> str:
    """The card of a finished generator.

    Args:
        options: those that somebody reads, as flags.
        measured: the summary of its evaluation, if it has one.
        to: one of LOADERS.
    """
    base = next((one for one in made.outside if one.role == "generator"), None)
    counts = zip(made.class_names, made.class_counts, strict=True)
    origins = "".join(f"\n- {one.role}: {one}" for one in made.outside)
    return TEXT.format(
        library="ltaug" if to == "safetensors" else to,
        licence=f"license: {base.licence}\n" if base and base.licence else "",
        classes=len(made.class_names),
        images=sum(made.class_counts),
        source=made.train_source,
        digest=made.train_digest,
        steps=made.steps,
        base=f", from {base.name}" if base else "",
        shape=" x ".join(map(str, made.image_shape)),
        names="; ".join(f"{number}: {name}, {count}" for number, (name, count) in enumerate(counts)),
        objective=made.options.objective,
        options=options,
        memorisation=_memorisation(measured),
        outside=f"So do those of its outside weights:\n{origins}" if origins else "No outside weights are known.",
        loading=LOADERS[to],
    )


def _memorisation(measured: Mapping[str, Any] | None) -> str:
    shares = [(measured or {}).get(f"memorised_{percent}") for percent in (1, 5)]
    if None in shares:
        return "Not measured."
    one, five = shares
    return (
        f"Of its images {one:.1%} are nearer to a training image than 99 % of training images are to each other, and {five:.1%}\n"
        "nearer than 95 % are (root mean square of grey levels)."
    )
