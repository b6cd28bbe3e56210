"""What is installed, for `ltaug doctor`: the packages, a torch that torchvision fits, and GPUs that it can compute on."""

from __future__ import annotations

import os
import platform
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from ltaug.disk import size
from ltaug.errors import LtaugError

NEW_LINE = "\n"
OK, NOTE, PROBLEM = "ok", "note", "problem"
DRIVER = Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg")
SHARED = Path("/dev/shm")
LITTLE = 2e9  # bytes of memory, of disk or of a GPU, below which little can be computed
EXTRAS = {  # packages that some options need: the extra of ltaug, and what reads them
    "torch-fidelity": ("inception", "--extractor inception"),
    "datasets": ("hf", "--dataset hf:NAME"),
    "pyarrow": ("parquet", "a Parquet file"),
    "diffusers": ("diffusers", "fit-generator --pretrained and --latent"),
    "peft": ("diffusers", "--tune lora:R"),
}


class Finding(NamedTuple):
    """What was looked at, its state (ok, note or problem), what was found and, where there is something to do, what."""

    about: str
    state: str
    text: str
    remedy: str = ""


def packages() -> Iterator[Finding]:
    """The packages that ltaug needs, each with its version."""
    yield Finding("Python", OK, platform.python_version())
    if (own := _version("ltaug")) is None:
        yield Finding("ltaug", PROBLEM, "it is not installed, so what it needs is not known", "pip install it")
        return
    yield Finding("ltaug", OK, own)
    for needed in map(Requirement, sorted(requires("ltaug") or ())):
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        name, there, remedy = needed.name, _version(needed.name), f"pip install '{needed.name}{needed.specifier}'"
        if there is None:
            yield Finding(name, PROBLEM, "it is not installed", remedy)
        elif not needed.specifier.contains(there, prereleases=True):
            yield Finding(name, PROBLEM, f"{there} is not {needed.specifier}", remedy)
        else:
            yield Finding(name, OK, there)
    for name, (extra, reader) in EXTRAS.items():
        if (there := _version(name)) is not None:
            yield Finding(name, OK, there)
        else:
            yield Finding(name, NOTE, f"{reader} needs it, nothing else", f"pip install 'ltaug[{extra}]'")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def wrong_with(call: Callable[[], object]) -> str | None:
    """The first line of what a call raises, None if nothing."""
    try:
        call()
    except LtaugError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever is broken is what is asked for
        return f"{type(error).__name__}: {str(error).partition(NEW_LINE)[0]}"
    return None


def torch_fits() -> Iterator[Finding]:
    """Whether torch can be imported, and whether torchvision was compiled for it, which only torchvision's own kernels tell."""

    def suppress_a_box() -> None:
        torch, ops = import_module("torch"), import_module("torchvision.ops")
        ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)

    remedy = "install the two together, anew: pip install --force-reinstall torch torchvision"
    if wrong := wrong_with(lambda: import_module("torch")):
        yield Finding("import of torch", PROBLEM, wrong, remedy)
    elif wrong := wrong_with(suppress_a_box):
        yield Finding("torchvision with torch", PROBLEM, wrong, remedy)
    else:
        yield Finding("torch and torchvision", OK, "they fit together")


def devices() -> Iterator[Finding]:
    """The GPUs, or why there are none."""
    import torch

    with warnings.catch_warnings(record=True) as said:  # torch says in a warning why it sees none
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield from map(_gpu, range(count))
    if count > 1 and SHARED.is_dir() and (free := shutil.disk_usage(SHARED).free) < 1e9:
        remedy = "give the container more, such as docker run --shm-size=1g"
        yield Finding(str(SHARED), NOTE, f"{size(free)} free, and GPUs that fit together meet there", remedy)
    if not count:
        yield _no_gpu(torch.version.cuda, [str(one.message) for one in said])


def _no_gpu(built: str | None, said: list[str]) -> Finding:
    """Why torch, built for this CUDA if for any, sees no GPU, of which it said this."""
    import torch

    if not (any(map(Path.exists, DRIVER)) or shutil.which("nvidia-smi")):
        return Finding("GPU", OK, f"no GPU (torch is built for {f'CUDA {built}' if built else 'CPUs'})")
    if built is None:
        remedy = "install a build of torch for CUDA (pytorch.org/get-started)"
        return Finding("GPU", PROBLEM, "there is an NVIDIA driver, and this torch is built without CUDA", remedy)
    if (hidden := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return Finding("GPU", NOTE, f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides all", "unset it to compute on one")
    why = said[0] if said else wrong_with(torch.cuda.init) or "it does not say why"
    remedy = f"install a driver for CUDA {built}, or a torch built for the driver's (nvidia-smi shows it)"
    return Finding("GPU", PROBLEM, f"there is an NVIDIA driver, and torch sees no GPU: {why.partition(NEW_LINE)[0]}", remedy)


def _gpu(number: int) -> Finding:
    import torch

    about = torch.cuda.get_device_properties(number)
    if wrong := wrong_with(lambda: torch.ones(8, 8, device=f"cuda:{number}").square().sum().item()):
        return Finding(
            f"GPU {number}", PROBLEM, f"{about.name}: {wrong}", "name others in CUDA_VISIBLE_DEVICES, or give --device cpu"
        )
    free, total = torch.cuda.mem_get_info(number)
    text = f"{about.name}, {size(free)} of {size(total)} free, CUDA {torch.version.cuda or torch.version.hip}"
    return room(f"GPU {number}", text, free, "end what else computes there")


def room(about: str, text: str, free: float, remedy: str) -> Finding:
    """A note with the remedy where little is free."""
    return Finding(about, NOTE, text, remedy) if free < LITTLE else Finding(about, OK, text)
