"""Main memory: how much this process may still allocate, and its peak."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can be allocated without swapping, within the limits of this process's control groups (a job, a container).

    Outside Linux, where the system does not report it, the size of main memory.
    """
    try:
        free = _fields(_PROC / "meminfo")["MemAvailable"]
    except (OSError, KeyError):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(free, *_limits(), sys.maxsize)


def peak_memory() -> int:
    """Peak main memory of this process in bytes since it started or since `reset_peak`, including mapped files."""
    try:
        return _fields(_PROC / "self/status")["VmHWM"]
    except (OSError, KeyError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def reset_peak() -> None:
    """Restart the peak of `peak_memory` from now on, if the system can (Linux)."""
    with contextlib.suppress(OSError):  # if it cannot, or a container forbids it, the peak stays that of the whole process
        (_PROC / "self/clear_refs").write_text("5")


def _fields(path: Path) -> dict[str, int]:
    """Sizes in bytes, by name, from a file with lines such as "VmHWM:  1234 kB"."""
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
