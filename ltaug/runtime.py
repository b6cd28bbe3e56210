"""Device, precision, threads and seeds: decided once per process and handed down."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch

from ltaug.errors import OptionError
from ltaug.fields import SMALL_SIDE
from ltaug.machine import Machine
from ltaug.place import ALONE, Place

DEVICES = ("auto", "cpu", "cuda")
WAYS = ("plain", "compiled", "micro_batch", "checkpoint_activations", "captured")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# Work on a GPU from which compiling, a minute or two, is a small part of it: steps of a fit, images through a network.
LONG_FIT = 2000
LONG_CLASSIFIER_FIT = 20_000
LONG_SAMPLING = 10_000_000


@dataclass(frozen=True)
class Runtime:
    """Where tensors live and how networks are computed (see machine.Machine).

    These settings change results only by rounding.
    """

    device: torch.device
    amp_dtype: torch.dtype | None
    plain: bool = False
    compiled: bool = False
    micro_batch: int | None = None
    checkpoint_activations: bool = False
    captured: bool = False

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision, if it is on."""
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            yield

    def synchronize(self) -> None:
        """Wait for the device, before a clock is read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> dict[str, str | int]:
        """The device for run.json."""
        on_gpu = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if on_gpu else platform.processor() or platform.machine()
        return {
            "type": self.device.type,
            "name": name,
            "threads": torch.get_num_threads(),
            "precision": str(self.amp_dtype or torch.float32).removeprefix("torch."),
            **{name: value for name in WAYS if (value := getattr(self, name))},
        }


def make_runtime(device: str = "auto", *, threads: int | None = None, place: Place = ALONE) -> Runtime:
    """Choose the device and set this process's threads.

    Args:
        device: "auto" (CUDA if there is one), "cpu" or "cuda".
        threads: CPU threads for tensor work; None leaves torch's choice. Results on the CPU are bit for bit the
            same only for the same number of threads.
        place: decides which of the machine's CUDA devices is used.

    Raises:
        OptionError: an unknown device, no CUDA device, or fewer CUDA devices than processes on this machine.
    """
    if device not in DEVICES:
        raise OptionError(f"--device {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda: torch finds no CUDA device on this machine; use --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        torch.backends.cudnn.allow_tf32 = False  # what is not computed in bfloat16 needs full float32
        return Runtime(_cuda(place), torch.bfloat16)
    return Runtime(torch.device("cpu"), None)


def _cuda(place: Place) -> torch.device:
    if place.world == 1:
        return torch.device("cuda")
    device = torch.device("cuda", place.device_of(torch.cuda.device_count()))
    torch.cuda.set_device(device)
    return device


def for_fit(runtime: Runtime, machine: Machine, *, image_side: int, steps: int) -> Runtime:
    """The runtime for fitting a generator, as `machine` asks.

    Args:
        image_side: the larger of height and width in pixels.
        steps: of the whole fit.

    Raises:
        OptionError: --plain together with an option that it excludes, or --compile yes without a compiler.
    """
    if machine.plain and (machine.precision == "bf16" or machine.compile == "yes"):
        what = "--precision bf16" if machine.precision == "bf16" else "--compile yes"
        raise OptionError(f"--plain computes in float32 and does not compile; leave out {what}, or --plain")
    decided = _decided(runtime, machine, image_side=image_side, long=steps >= LONG_FIT)
    return dataclasses.replace(
        decided,
        amp_dtype=None if machine.plain else decided.amp_dtype,
        plain=machine.plain,
        compiled=decided.compiled and not machine.plain,
        micro_batch=machine.micro_batch,
        checkpoint_activations=machine.checkpoint_activations,
    )


def for_sampling(runtime: Runtime, machine: Machine, *, image_side: int, passes: int) -> Runtime:
    """The same for sampling a generator.

    Args:
        passes: images through the network, over all images, sampler steps and guidance branches.

    Raises:
        OptionError: --compile yes without a compiler.
    """
    return _decided(runtime, machine, image_side=image_side, long=passes >= LONG_SAMPLING)


def for_classifier(runtime: Runtime, machine: Machine, *, image_side: int, steps: int) -> Runtime:
    """The same for fitting a classifier.

    On a GPU, unless with --compile no, its steps are captured as a CUDA graph, which takes a second and needs no compiler.

    Raises:
        OptionError: --compile yes without a compiler.
    """
    decided = _decided(runtime, machine, image_side=image_side, long=steps >= LONG_CLASSIFIER_FIT)
    return dataclasses.replace(decided, captured=runtime.device.type == "cuda" and machine.compile != "no")


def _decided(runtime: Runtime, machine: Machine, *, image_side: int, long: bool) -> Runtime:
    """The runtime with precision and compilation decided; `long` is whether --compile auto compiles on a GPU.

    On a CPU that multiplies in bfloat16, networks for all but small images train faster in it (benchmarks/RESULTS.md).
    """
    on_gpu = runtime.device.type == "cuda"
    bf16 = {"auto": on_gpu or (image_side > SMALL_SIDE and _multiplies_bf16()), "bf16": True, "fp32": False}[machine.precision]
    can = can_compile(on_gpu)
    if machine.compile == "yes" and not can:
        need = "Triton and a C compiler" if on_gpu else "a C++ compiler"
        raise OptionError(f"--compile yes needs {need}, which this machine does not have; install it, or leave out --compile")
    compiled = {"auto": on_gpu and long and can, "yes": True, "no": False}[machine.compile]
    return dataclasses.replace(runtime, amp_dtype=torch.bfloat16 if bf16 else None, compiled=compiled)


def _multiplies_bf16() -> bool:
    """Whether the CPU has bfloat16 instructions (AVX512-BF16 or AMX); emulated, bfloat16 is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def can_compile(on_gpu: bool) -> bool:
    """Whether this machine has the compilers that torch.compile needs."""
    names = ("CC", "gcc", "clang") if on_gpu else ("CXX", "g++", "clang++")
    found = any(shutil.which(os.environ.get(name, name)) for name in names)
    return found and (not on_gpu or importlib.util.find_spec("triton") is not None)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, if its C library is glibc.

    Otherwise every large tensor is allocated from the kernel page by page and returned at once: 5 % of a step on a CPU.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@dataclass(frozen=True)
class Seconds:
    """The time a fit took: until the end of its warm-up steps, which compile and tune, and for the other steps."""

    warm_up: float
    steps: float


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part; equal parts give equal seeds on every machine.

    Every random draw has a stream named by its purpose, such as derive_seed(seed, "fit", step), so that none depends on
    earlier draws: an interrupted run resumes exactly, and image 17 is the same in any batch.
    """
    text = "\x1f".join(str(p) for p in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_streams(seed: int) -> None:
    """torch.manual_seed for each step of a loop: that formats two stacks where no GPU is in use, which takes 2 ms."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def versions() -> dict[str, str]:
    """Versions of Python, ltaug and the numerical libraries, for run.json."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("ltaug", "torch", "numpy", "scikit-learn")}}
