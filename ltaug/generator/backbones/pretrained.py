"""Published networks of diffusers as backbones, each class and "no class" a learned row of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ltaug.errors import MismatchError
from ltaug.generator.finetune import rows_for
from ltaug.generator.pipeline import NETWORK_PARTS, Pipeline, plain_name
from ltaug.generator.tuning import tune

Output = tuple[Tensor, Tensor]  # prediction, bottleneck features
TOKENS = 4  # of a class, in place of a text


class Rows(NamedTuple):
    """How a network knows its classes: (P, D), the row of no class (D,), and the deviation of a new class's row from the mean."""

    classes: Tensor
    nobody: Tensor
    spread: Tensor


class Kind(Protocol):
    """A class of networks: its own rows are taken out once, and rows are handed to it with every batch."""

    def take(self, network: Any) -> Rows:
        """The rows of the published classes, which the network loses; of width D, if there are none.

        Raises:
            MismatchError: it is conditioned on something else.
        """

    def width(self, network: Any) -> int:
        """D' of the bottleneck's features."""

    def divides(self, network: Any) -> int:
        """What the sides of x must be multiples of."""

    def run(self, network: Any, x: Tensor, noise_input: Tensor, rows: Tensor) -> Output:
        """The network's output (B, C', H, W) and its features (B, D', h, w), under rows (B, D)."""

    def give(self, config: dict[str, Any], state: dict[str, Tensor], rows: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Configuration and weights of the network with rows (K + 1, D) of its own, the last of no class.

        Raises:
            MismatchError: the publisher's class has no place for them.
        """


class DiT:
    """DiTTransformer2DModel (Peebles and Xie, ICCV 2023).

    diffusers gives every block an embedder of its own of time and class, each of which drops labels by itself in training. Where
    all are equal, as in the published weights, one is kept; otherwise a row holds what a class is to each of them.
    """

    def take(self, network: Any) -> Rows:
        embedders = [block.norm1.emb for block in network.transformer_blocks]
        first, known = embedders[0].state_dict(), network.config.num_embeds_ada_norm
        equal = network.device.type == "meta" or all(
            torch.equal(first[key], value) for other in embedders[1:] for key, value in other.state_dict().items()
        )
        kept = embedders[:1] if equal else embedders
        network.times = nn.ModuleList([one.timestep_embedder for one in kept])
        network.time_proj = kept[0].time_proj
        for i, block in enumerate(network.transformer_blocks):
            block.norm1.emb = _Place(min(i, len(kept) - 1))
        tables = [one.class_embedder.embedding_table.weight.detach() for one in kept]
        rows = torch.cat(tables, 1)
        return Rows(rows[:known], rows[known] if len(rows) > known else rows.mean(0), rows.std(0))

    def width(self, network: Any) -> int:
        return int(network.inner_dim)

    def divides(self, network: Any) -> int:
        return int(network.patch_size)

    def run(self, network: Any, x: Tensor, noise_input: Tensor, rows: Tensor) -> Output:
        side = (x.shape[2] // network.patch_size, x.shape[3] // network.patch_size)
        h = network.pos_embed(x)
        times = network.time_proj(noise_input).to(h.dtype)
        given = torch.stack([time(times) for time in network.times], 1)
        given = given + rows.view(len(x), len(network.times), -1)
        blocks = network.transformer_blocks
        for i, block in enumerate(blocks):
            h = block(h, class_labels=given)
            if i == len(blocks) // 2:
                features = h.transpose(1, 2).view(len(x), -1, *side)
        shift, scale = network.proj_out_1(F.silu(given[:, 0])).chunk(2, dim=1)
        h = network.proj_out_2(network.norm_out(h) * (1 + scale[:, None]) + shift[:, None])
        h = h.reshape(-1, *side, network.patch_size, network.patch_size, network.out_channels)
        return torch.einsum("nhwpqc->nchpwq", h).reshape(len(x), network.out_channels, *x.shape[2:]), features

    def give(self, config: dict[str, Any], state: dict[str, Tensor], rows: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
        times = {key: state.pop(key) for key in [key for key in state if key.startswith("times.")]}
        places = 1 + max(int(key.split(".")[1]) for key in times)
        for i in range(config["num_layers"]):
            place, emb = min(i, places - 1), f"transformer_blocks.{i}.norm1.emb"
            state[f"{emb}.class_embedder.embedding_table.weight"] = rows.view(len(rows), places, -1)[:, place].contiguous()
            own = f"times.{place}."
            state |= {f"{emb}.timestep_embedder.{key.removeprefix(own)}": t for key, t in times.items() if key.startswith(own)}
        return {**config, "num_embeds_ada_norm": len(rows) - 1}, state


class _Place(nn.Module):
    """A block's part of what time and class are to all blocks, (B, n, D): in place of its own embedder."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, timestep: None, given: Tensor, hidden_dtype: torch.dtype | None = None) -> Tensor:
        return given[:, self.place]


class UNet2D:
    """UNet2DModel, of pixels or latents; one that was published without classes gets small random rows."""

    def take(self, network: Any) -> Rows:
        if network.config.class_embed_type is not None:
            raise MismatchError(
                f"the network has class_embed_type {network.config.class_embed_type}; give a pipeline whose network has not"
            )
        embedding = network.class_embedding
        width = network.time_embedding.linear_2.out_features
        network.class_embedding = nn.Identity()
        if embedding is None:
            return Rows(torch.zeros(0, width), torch.zeros(width), torch.full((width,), 0.1))
        rows = embedding.weight.detach()
        return Rows(rows, rows.mean(0), rows.std(0))

    def width(self, network: Any) -> int:
        return int(network.config.block_out_channels[-1])

    def divides(self, network: Any) -> int:
        return int(2 ** (len(network.config.block_out_channels) - 1))

    def run(self, network: Any, x: Tensor, noise_input: Tensor, rows: Tensor) -> Output:
        return _with_bottleneck(network, lambda: network(x, noise_input, rows).sample)

    def give(self, config: dict[str, Any], state: dict[str, Tensor], rows: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return {**config, "num_class_embeds": len(rows)}, {**state, "class_embedding.weight": rows}


class TextUNet:
    """UNet2DConditionModel, whose text gives way to TOKENS learned tokens of a class."""

    def take(self, network: Any) -> Rows:
        config = network.config
        for option in ("addition_embed_type", "encoder_hid_dim", "class_embed_type", "num_class_embeds"):
            if config[option] is not None:
                raise MismatchError(f"the network has {option} {config[option]}; give a pipeline whose network has not")
        if not isinstance(config.cross_attention_dim, int):
            raise MismatchError("the network's blocks take texts of different width; give a pipeline whose blocks take the same")
        width = TOKENS * config.cross_attention_dim
        return Rows(torch.zeros(0, width), torch.zeros(width), torch.ones(width))  # as a text encoder's normalised ones

    def width(self, network: Any) -> int:
        return int(network.config.block_out_channels[-1])

    def divides(self, network: Any) -> int:
        return int(2 ** (len(network.config.block_out_channels) - 1))

    def run(self, network: Any, x: Tensor, noise_input: Tensor, rows: Tensor) -> Output:
        tokens = rows.view(len(x), TOKENS, -1)
        return _with_bottleneck(network, lambda: network(x, noise_input, encoder_hidden_states=tokens).sample)

    def give(self, config: dict[str, Any], state: dict[str, Tensor], rows: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
        raise MismatchError(
            "a UNet2DConditionModel takes the tokens of a text and has no place for those of classes; use ltaug synthesize"
        )


KINDS: dict[str, Kind] = {"DiTTransformer2DModel": DiT(), "UNet2DModel": UNet2D(), "UNet2DConditionModel": TextUNet()}


def _with_bottleneck(network: Any, run: Any) -> Output:
    """What `run` gives, and what comes out of the network's middle meanwhile."""
    seen: list[Tensor] = []
    handle = network.mid_block.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        return run(), seen[-1]
    finally:
        handle.remove()


class PretrainedNetwork(nn.Module):
    """A published network, called as every backbone is.

    A class starts from the published row of the same name; another from the mean of all rows with noise of their spread, as rows
    that are equal would make CBDM's term zero. The row of no class is learned with the others. What the network predicts besides
    the noise (a learned variance) is left out.

    Attributes:
        carried: the names of classes that started from their own published row.

    Raises:
        LtaugError: see `Pipeline.load`, `Kind.take`.
    """

    def __init__(
        self, pipeline: Pipeline, *, num_classes: int, class_names: Sequence[str] = (), how: str, dropout: float = 0.0
    ) -> None:
        super().__init__()
        folder = pipeline.part(*NETWORK_PARTS)
        network = pipeline.load(folder, list(KINDS), dropout=dropout)
        self.kind = KINDS[type(network).__name__]
        rows = self.kind.take(network)
        names = class_names or [str(i) for i in range(num_classes)]
        labels = pipeline.labels if len(rows.classes) else {}
        places = {name: labels.get(plain_name(name), len(rows.classes)) for name in names}
        known = {name: rows.classes[place] for name, place in places.items() if place < len(rows.classes)}
        self.carried = tuple(known)
        mean = rows.classes.mean(0) if len(rows.classes) else rows.nobody
        start = rows_for(names, known, mean=mean, spread=rows.spread)
        self.classes = nn.Embedding(num_classes, start.shape[1], _weight=start)
        self.nobody = nn.Parameter(rows.nobody.clone())
        self.network = tune(network, how)
        self.channels = int(cast(Any, network).config.in_channels)
        self.feature_channels = self.kind.width(network)

    def require_fitting(self, shape: tuple[int, int, int], *, name: str) -> None:
        """Raise MismatchError unless the network takes x of this shape (C, H, W)."""
        channels, height, width = shape
        if channels != self.channels:
            raise MismatchError(
                f"{name} has a network of {self.channels} channels, the images have {channels}; give one with an autoencoder"
            )
        part = self.kind.divides(self.network)
        if height % part or width % part or height != width:
            raise MismatchError(
                f"{name} has a network of square images whose side can be divided by {part}, not of {height}x{width}; "
                "give another --image-size"
            )

    def forward(self, x: Tensor, noise_input: Tensor, labels: Tensor, augment: Tensor | None = None) -> Output:
        """(prediction like x, bottleneck features); a label equal to the number of classes means none."""
        rows = F.embedding(labels, torch.cat([self.classes.weight, self.nobody[None]]))
        prediction, features = self.kind.run(self.network, x, noise_input, rows)
        return prediction[:, : x.shape[1]], features
