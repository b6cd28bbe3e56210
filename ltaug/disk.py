"""Free space, looked at before something is computed for which there is no room."""

from __future__ import annotations

import shutil
from pathlib import Path

from ltaug.errors import ResourceError


def size(number: float) -> str:
    """Bytes as people say them: 812 B, 5 kB, 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def require_space(folder: Path, needed: int) -> None:
    """Raise ResourceError unless the file system of an existing folder has so many bytes left, as far as it says."""
    total, _, free = shutil.disk_usage(folder)
    if total and free < needed:
        raise ResourceError(
            f"{folder}: {size(needed)} are needed and {size(free)} are free; free space there, or name an --out on another disk, "
            "and rerun the command"
        )
