"""--withdraw FILE: images that must not be in a synthesis; the next candidates take their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ltaug.data.folder import class_folder
from ltaug.errors import OptionError, nearest
from ltaug.manifest import image_key

WITHDRAWN = "withdrawn"  # the verdict in the manifest
REAL = "real:"


@dataclass(frozen=True)
class Withdrawal:
    """Generated images by `manifest.image_key`, and training images by index: what stems from these is withdrawn too."""

    names: frozenset[str] = frozenset()
    real: frozenset[int] = frozenset()

    def takes(self, class_name: str, index: int, nearest_real: int) -> bool:
        return nearest_real in self.real or image_key(class_name, index) in self.names

    def require_known(self, class_names: Sequence[str], real: int) -> None:
        """Raise OptionError where it names another class than these, or a training image beyond `real`."""
        known = [class_folder(name) for name in class_names]
        for name in sorted(self.names):
            if (folder := name.split("/")[0]) not in known:
                raise OptionError(f"--withdraw: {name} is of no class of this set; {nearest(folder, known)}")
        if self.real and max(self.real) >= real:
            raise OptionError(f"--withdraw: {REAL}{max(self.real)} is beyond the {real} training images, which count from 0")


def read_withdrawal(path: str | None) -> Withdrawal:
    """What a file withdraws, one a line: CLASS/000123 or a `file` of the manifest, or real:17 for all images whose nearest
    training image is the one of that index; None withdraws nothing.

    Raises:
        OptionError: it cannot be read, or a line is neither.
    """
    if path is None:
        return Withdrawal()
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--withdraw {path} cannot be read ({error}); name a text file") from error
    names, real = set[str](), set[int]()
    for line in filter(None, lines):
        key = "/".join(line.removesuffix(".png").split("/")[-2:])
        if line.startswith(REAL) and line.removeprefix(REAL).isdecimal():
            real.add(int(line.removeprefix(REAL)))
        elif "/" in key and key.rpartition("/")[2].isdecimal():
            names.add(key)
        else:
            raise OptionError(f"--withdraw {path}: {line!r} is neither CLASS/000123, as the manifest names images, nor real:17")
    return Withdrawal(frozenset(names), frozenset(real))


def check_withdrawal(path: str) -> None:
    """Raise OptionError as `read_withdrawal` does, before anything is computed."""
    read_withdrawal(path)
