"""Published weights: a local file or a download that is named first, used only if its SHA-256 is the published file's."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ltaug.errors import CorruptError, DataError, MismatchError
from ltaug.files import atomic_write, file_digest

CHUNK = 1 << 20
PATIENCE = 60.0  # seconds without a byte before a download counts as failed
Tell = Callable[[str, int, int | None], None]  # what is being done, how far, of how much (None: a message)


@dataclass(frozen=True)
class Weights:
    """A published file of weights."""

    extractor: str  # what needs it
    file: str  # its name, in the data directory too
    url: str
    sha256: str  # of its bytes, hexadecimal
    size: int  # in bytes
    licence: str
    trained_on: str  # the images

    @property
    def described(self) -> str:
        return f"{self.file} ({self.size / 1e6:.0f} MB)"


def find_weights(wanted: Weights, *, given: Path | None, folder: Path, download: bool, tell: Tell) -> Path:
    """Where the file lies: `given`, or in `folder`, where it is downloaded to if it may be.

    Raises:
        DataError: it is nowhere and was not to be downloaded, or the download failed; what to do is named.
        MismatchError: `given` is another file.
        CorruptError: the file in `folder`, or what was downloaded, is another or damaged; a download leaves nothing behind.
    """
    if given is not None:
        if not given.is_file():
            raise DataError(f"--weights {given} is not a file; give {wanted.described} from {wanted.url}")
        if (digest := file_digest(given)) != wanted.sha256:
            raise MismatchError(f"--weights {given} is not {wanted.described}: {_differ(digest, wanted)}")
        return given
    path = folder / wanted.file
    if path.is_file():
        if (digest := file_digest(path)) != wanted.sha256:
            raise CorruptError(f"{path} is damaged or another file: {_differ(digest, wanted)}; delete it")
        return path
    if not download:
        raise DataError(
            f"--extractor {wanted.extractor} needs {wanted.described}, which is not in {folder}; pass --download to fetch it "
            f"from {wanted.url}, or --weights with the file; --extractor classifier and pixels need none"
        )
    _download(wanted, path, tell)
    return path


def _download(wanted: Weights, path: Path, tell: Tell) -> None:
    """Fetch to a temporary file, compare digests, move into place; whatever goes wrong leaves nothing that counts."""
    tell(f"Downloading {wanted.described} from {wanted.url} to {path}.", 0, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(wanted.url, timeout=PATIENCE) as source, atomic_write(path) as target:
            done, digest = 0, hashlib.sha256()
            while block := source.read(CHUNK):
                target.write(block)
                digest.update(block)
                done += len(block)
                tell(f"downloading {wanted.file}", done, max(wanted.size, done))
            if digest.hexdigest() != wanted.sha256:
                difference = _differ(digest.hexdigest(), wanted)
                raise CorruptError(f"what {wanted.url} sent is not {wanted.described}: {difference}; nothing was kept, try again")
    except (OSError, http.client.HTTPException) as error:
        remedy = f"download it elsewhere and pass --weights, or put it in {path.parent}"
        raise DataError(f"{wanted.url} could not be downloaded ({error}); {remedy}") from error


def _differ(digest: str, wanted: Weights) -> str:
    return f"its SHA-256 begins {digest[:12]}, where {wanted.sha256[:12]} is needed"
