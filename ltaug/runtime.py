"""Device, precision, threads, seeds and signals: decided once per process and handed down."""

from __future__ import annotations

import hashlib
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import FrameType

import torch

from ltaug.errors import OptionError

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Runtime:
    """Where tensors live and in what precision networks run."""

    device: torch.device
    amp_dtype: torch.dtype | None

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision where it is on; nothing otherwise."""
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            yield

    def describe(self) -> dict[str, str | int]:
        """The device for run.json."""
        on_gpu = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if on_gpu else platform.processor() or platform.machine()
        return {
            "type": self.device.type,
            "name": name,
            "threads": torch.get_num_threads(),
            "precision": str(self.amp_dtype or torch.float32).removeprefix("torch."),
        }


def make_runtime(device: str = "auto", *, threads: int | None = None) -> Runtime:
    """Choose the device and set this process's threads.

    Args:
        device: "auto" (CUDA if there is one), "cpu" or "cuda".
        threads: CPU threads for tensor work; None leaves torch's choice. Results on the CPU are bit for bit the
            same only for the same number of threads.

    Raises:
        OptionError: an unknown device, or CUDA where there is none.
    """
    if device not in DEVICES:
        raise OptionError(f"--device {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise OptionError("--device cuda: this machine shows no CUDA device to torch; use --device cpu")
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return Runtime(torch.device("cuda"), torch.bfloat16)
    return Runtime(torch.device("cpu"), None)


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part; equal parts give equal seeds on every machine.

    Randomness is drawn from streams named by what they are for, such as derive_seed(seed, "fit", step), so nothing
    depends on what was drawn before it: an interrupted run continues exactly, and image 17 is image 17 in any batch.
    """
    text = "\x1f".join(str(p) for p in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def versions() -> dict[str, str]:
    """Versions of Python, ltaug and what computes, for run.json."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("ltaug", "torch", "numpy", "scikit-learn")}}


class StopFlag:
    """Set by the first Ctrl-C or SIGTERM, so that a loop can save its state before it ends."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a flag for the loop to look at; a second one interrupts at once.

    Outside the main thread signals are left alone and the flag stays unset.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.requested:
            raise KeyboardInterrupt
        flag.requested = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
