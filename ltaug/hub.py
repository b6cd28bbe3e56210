"""Hugging Face's hub: what is wanted of it lies in its cache on this machine (HF_HOME), or is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ltaug.errors import DataError


def from_hub(
    ask: Callable[..., str],
    *,
    about: Callable[[], str],
    instead: str,
    download: bool,
    tell: Callable[[str], None] = lambda text: None,
    renew: bool = False,
) -> Path:
    """The file or folder of the hub that `ask` finds.

    Args:
        ask: a partial of a function of huggingface_hub, which with local_files_only looks on this machine alone.
        about: what is wanted, in words; called only if it is not here.
        instead: what else to give, as an imperative.
        tell: hears of a download before it begins.
        renew: with `download`, even what is here is asked for again, as it may be half of a download.

    Raises:
        DataError: it is not here and `download` is off, or the download failed.
    """
    if not (download and renew):
        try:
            return Path(ask(local_files_only=True))
        except (OSError, ValueError) as error:
            if not download:
                raise DataError(f"{about()} is not on this machine; pass --download, or {instead}") from error
    wanted = about()
    tell(f"Downloading {wanted}.")
    try:
        return Path(ask())
    except Exception as error:  # OSError, ValueError, or what httpx or requests raises, by the hub's version
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{wanted} could not be downloaded ({reason}); fetch it elsewhere and {instead}") from error
