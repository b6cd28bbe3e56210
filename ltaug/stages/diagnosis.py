"""doctor: is this machine, with its packages, one that ltaug computes on? Nothing heavy is imported before it is looked at."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ltaug.data.cache import cache_directory
from ltaug.disk import size
from ltaug.machine import Machine
from ltaug.memory import available_memory
from ltaug.runs import Event, Listener, ignore_events
from ltaug.stages.installed import NOTE, OK, PROBLEM, Finding, devices, packages, room, torch_fits, wrong_with


class Diagnosis(NamedTuple):
    """All findings, and the line that tells of the machine in a bug report."""

    findings: tuple[Finding, ...]
    line: str

    @property
    def problems(self) -> list[Finding]:
        return [one for one in self.findings if one.state == PROBLEM]


def diagnose(machine: Machine = Machine(), listener: Listener = ignore_events) -> Diagnosis:  # noqa: B008
    """Look at the packages, the devices, the memory and the disks, and try everything out for some seconds; `ltaug doctor`."""
    installed = [*packages(), *torch_fits()]
    free = available_memory()
    memory = room("memory", f"{size(free)} free", free, "end other programs, or give fewer --workers")
    found = [*installed, memory, *_disks()]
    if any(one.state == PROBLEM for one in installed):
        found.append(Finding("self-test", NOTE, "not made", "mend the packages first"))
    else:
        found += [*devices(), _threads(), _compiler()]
        listener(Event("", "Trying everything out, for about ten seconds."))
        found.append(_self_test(machine))
    return Diagnosis(tuple(found), _line(found))


def _disks() -> Iterator[Finding]:
    """Where runs are written and where decoded images are."""
    here, cache = Path.cwd(), cache_directory()
    held = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    for about, folder, remedy in (
        ("disk", here, "name an --out on another disk"),
        ("cache", cache, f"set LTAUG_CACHE to a folder on another disk, or look at ltaug clean {cache}"),
    ):
        there = next(above for above in (folder, *folder.parents) if above.is_dir())
        free, used = shutil.disk_usage(there).free, f" ({size(held)} in it)" if folder is cache else ""
        if os.access(there, os.W_OK):
            yield room(about, f"{size(free)} free at {folder}{used}", free, remedy)
        else:
            yield Finding(about, NOTE, f"{there} cannot be written", remedy)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> Finding:
    import torch

    cores, threads = _cores(), torch.get_num_threads()
    text = f"{_processor()}, cores for this process: {cores}, threads: {threads}"
    if threads <= cores:
        return Finding("CPU", OK, text)
    return Finding("CPU", NOTE, f"{text}, which wait for each other", f"give --threads {cores}, or unset OMP_NUM_THREADS")


def _compiler() -> Finding:
    from ltaug.runtime import can_compile, make_runtime

    on_gpu = make_runtime().device.type == "cuda"
    if can_compile(on_gpu):
        return Finding("compiler", OK, "there, for --compile")
    need = "Triton and a C compiler (gcc)" if on_gpu else "a C++ compiler (g++)"
    return Finding("compiler", NOTE, "none, so --compile yes is refused", f"install {need} to use it")


def _self_test(machine: Machine) -> Finding:
    from ltaug.runtime import make_runtime
    from ltaug.stages.trial import differences_of_two

    began, other = time.monotonic(), list[str]()
    if wrong := wrong_with(lambda: other.extend(differences_of_two(machine))):
        return Finding("self-test", PROBLEM, wrong, "report it with the line below, if nothing above explains it")
    if other and make_runtime(machine.device).device.type == "cpu":
        text = f"made twice, these are not the same bit for bit: {', '.join(other)}"
        return Finding("self-test", PROBLEM, text, "runs cannot be repeated here; report it with the line below")
    same = "nearly the same" if other else "the same bit for bit"
    text = f"generator, images and classifier made twice, {same}, in {time.monotonic() - began:.0f} s"
    return Finding("self-test", OK, text)


def _processor() -> str:
    """What the CPU is called."""
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _line(found: list[Finding]) -> str:
    named = {one.about: one.text for one in found}
    parts = [f"{name} {named[name]}" for name in ("ltaug", "Python", "torch", "torchvision") if name in named]
    parts += [platform.platform(), f"{_processor()} ({_cores()} cores)"]
    parts += [text for about, text in named.items() if about.startswith("GPU")]
    return ", ".join([*parts, f"memory {named['memory']}", f"self-test: {named['self-test']}"])
