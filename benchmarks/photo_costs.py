"""What photos of 224 pixels cost, counted: operations of published networks on the device `meta`, without weights or a GPU.

python benchmarks/photo_costs.py [--side 224]
"""

import argparse

import diffusers
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ltaug.generator.backbones.pretrained import DiT
from ltaug.generator.tuning import tune

XL = {"num_layers": 28, "in_channels": 4, "out_channels": 8, "sample_size": 32, "attention_bias": True}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
VAE |= {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}


def counted(run) -> float:
    """Operations in 1e9; a product and a sum are two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def parameters(module: nn.Module, *, learning: bool = False) -> str:
    return f"{sum(p.numel() for p in module.parameters() if p.requires_grad or not learning) / 1e6:,.1f} M"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    side = parser.parse_args().side
    torch.set_default_device("meta")
    image, latent, label = (
        torch.zeros(1, 3, side, side),
        torch.zeros(1, 4, side // 8, side // 8),
        torch.zeros(1, dtype=torch.int64),
    )
    network, vae = diffusers.DiTTransformer2DModel(**XL).eval(), diffusers.AutoencoderKL(**VAE).eval()
    time = torch.zeros(1)
    print(f"| at {side} pixels, an image | 1e9 operations | parameters |\n|---|--:|--:|")
    print(f"| DiT-XL/2, one pass | {counted(lambda: network(latent, time, label)):,.0f} | {parameters(network)} |")
    print(f"| autoencoder, encoding | {counted(lambda: vae.encode(image)):,.0f} | {parameters(vae)} |")
    print(f"| autoencoder, decoding | {counted(lambda: vae.decode(latent)):,.0f} | |")
    for name in ("convnext_tiny", "vit_small_patch16_224"):
        model = timm.create_model(name, **({"img_size": side} if name.startswith("vit") else {})).eval()
        print(f"| {name}, one pass | {counted(lambda model=model: model(image)):,.1f} | {parameters(model)} |")
    print("\n| of DiT-XL/2 learn | parameters |\n|---|--:|")
    for how in ("difffit", "lora:16", "full"):
        tuned = diffusers.DiTTransformer2DModel(**XL)
        DiT().take(tuned)
        print(f"| `--tune {how}` | {parameters(tune(tuned, how), learning=True)} |")


if __name__ == "__main__":
    main()
