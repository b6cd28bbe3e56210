"""Free space, looked at before something is computed for which there is no room."""

from __future__ import annotations

import shutil
from pathlib import Path

from ltaug.errors import ResourceError


def require_space(folder: Path, needed: int) -> None:
    """Raise ResourceError unless the file system of an existing folder has so many bytes left, as far as it says."""
    total, _, free = shutil.disk_usage(folder)
    if total and free < needed:
        raise ResourceError(
            f"{folder}: {needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free; "
            "free space there, or name an --out on another disk, and rerun the command"
        )
