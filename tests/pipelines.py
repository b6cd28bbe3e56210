"""Tiny random pipelines as diffusers saves them: what published ones look like on the disk."""

import json
from pathlib import Path

import diffusers
import torch

LABELS = {0: "cat, house cat", 1: "dog", 2: "fish", 3: "bird", 4: "cow"}


def autoencoder(**given) -> diffusers.AutoencoderKL:
    """Of images of 3 channels, whose latents have 4 channels and a quarter of the side."""
    torch.manual_seed(1)
    sizes = {"block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4}
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}
    return diffusers.AutoencoderKL(**sizes | kinds | {"scaling_factor": 0.8} | given).eval()


def tiny_autoencoder() -> diffusers.AutoencoderTiny:
    torch.manual_seed(1)
    blocks = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "latent_channels": 4}
    return diffusers.AutoencoderTiny(**blocks, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)).eval()


def dit(*, shared: bool = True, channels: int = 4, side: int = 4) -> diffusers.DiTTransformer2DModel:
    """A DiT that knows LABELS, with a learned variance; `shared` as published: all blocks embed classes and time equally."""
    torch.manual_seed(2)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": side, "patch_size": 2}
    model = diffusers.DiTTransformer2DModel(
        **sizes, in_channels=channels, out_channels=2 * channels, num_embeds_ada_norm=len(LABELS), attention_bias=True
    )
    first = model.transformer_blocks[0].norm1.emb
    if shared:
        model.transformer_blocks[1].norm1.emb.load_state_dict(first.state_dict())
    return model.eval()


def unet(*, classes: int | None = len(LABELS), channels: int = 3, side: int = 8, **given) -> diffusers.UNet2DModel:
    torch.manual_seed(3)
    kinds = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    sizes = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 8}
    shape = {"sample_size": side, "in_channels": channels, "out_channels": channels, "num_class_embeds": classes}
    return diffusers.UNet2DModel(**sizes | kinds | shape | given).eval()


def text_unet(channels: int = 4) -> diffusers.UNet2DConditionModel:
    torch.manual_seed(4)
    kinds = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }
    sizes = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 2}
    shape = {"sample_size": 4, "in_channels": channels, "out_channels": channels, "cross_attention_dim": 12}
    return diffusers.UNet2DConditionModel(**sizes | kinds | shape).eval()


def save(folder: Path, network, vae=None, scheduler=None, card: str = "") -> Path:
    """A pipeline's folder with these components and LABELS."""
    part = "transformer" if isinstance(network, diffusers.DiTTransformer2DModel) else "unet"
    parts = {part: network, "scheduler": scheduler or diffusers.DDPMScheduler(), **({"vae": vae} if vae is not None else {})}
    for name, component in parts.items():
        component.save_pretrained(folder / name)
    index = {"_class_name": "DiTPipeline", "id2label": {str(row): name for row, name in LABELS.items()}}
    index |= {name: ["diffusers", type(component).__name__] for name, component in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    if card:
        (folder / "README.md").write_text(card)
    return folder
