"""How much main memory this process may still take, and how much it took at most."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can be had without swapping; no more than the control groups of this process (a job, a container) may have.

    Where the system does not say (outside Linux), all there is.
    """
    try:
        free = _fields(_PROC / "meminfo")["MemAvailable"]
    except (OSError, KeyError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(free, *_limits(), sys.maxsize)


def peak_memory() -> int:
    """Bytes of main memory that this process held at most since it started or since `reset_peak`, mapped files included."""
    try:
        return _fields(_PROC / "self/status")["VmHWM"]
    except (OSError, KeyError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def reset_peak() -> None:
    """Let `peak_memory` count from now on, where the system can (Linux)."""
    with contextlib.suppress(OSError):  # elsewhere, or in a container that may not: then the peak is that of the whole process
        (_PROC / "self/clear_refs").write_text("5")


def _fields(path: Path) -> dict[str, int]:
    """The sizes, in bytes, of a file of lines such as "VmHWM:  1234 kB"."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if row[-1:] == ["kB"]}


def _limits() -> Iterator[int]:
    """Memory limits of the control groups (version 2) around this process."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in (PurePosixPath(line.removeprefix("0::/")) for line in lines if line.startswith("0::/")):
        for part in (group, *group.parents):
            file = _GROUPS / part / "memory.max"
            if file.is_file() and (text := file.read_text().strip()).isdigit():
                yield int(text)
