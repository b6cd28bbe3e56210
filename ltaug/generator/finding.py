"""Where a published pipeline is: in a folder, in the cache of the hub or on the hub; the one that a generator was fitted with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from ltaug.errors import DataError, MismatchError, OptionError
from ltaug.generator.pipeline import AUTOENCODER_PART, CONFIG, INDEX, NETWORK_PARTS, WEIGHTS, Pipeline, digest_of, weights_taken
from ltaug.hub import from_hub
from ltaug.options import GeneratorOptions
from ltaug.records import GeneratorRecord

HUB = "hf:"


def check_pipeline(given: str) -> None:
    """Raise OptionError for what has not the form of a repository's name, DataError for a folder that is not there."""
    name, _, _ = given.removeprefix(HUB).partition("@")
    if given.startswith(HUB) and name.count("/") != 1:
        raise OptionError(
            f"{given!r} is not {HUB}ORG/NAME or {HUB}ORG/NAME@REVISION; give one, or a folder of a pipeline of diffusers"
        )
    if not given.startswith(HUB) and not Path(given).expanduser().is_dir():
        raise DataError(f"{given} is no folder; give one with a pipeline of diffusers, or {HUB}ORG/NAME")


def find_pipeline(given: str, *, download: bool, tell: Callable[[str], None]) -> Pipeline:
    """The pipeline in a folder, in the cache of the hub (HF_HOME), or with `download` on the hub.

    Args:
        tell: hears of a download before it begins.

    Raises:
        OptionError, DataError: see `check_pipeline`; it is not on this machine, or its download failed.
    """
    check_pipeline(given)
    if not given.startswith(HUB):
        return Pipeline(given, Path(given).expanduser())
    import huggingface_hub

    name, _, revision = given.removeprefix(HUB).partition("@")
    on_hub = cache(partial(_on_the_hub, name, revision))

    def ask(local_files_only: bool = False) -> str:
        how: dict[str, Any] = {"local_files_only": True} if local_files_only else {"allow_patterns": on_hub()[1]}
        folder: str = huggingface_hub.snapshot_download(name, revision=revision or None, **how)
        if local_files_only and not any(Path(folder).rglob(CONFIG)):
            raise FileNotFoundError(CONFIG)
        return folder

    instead = f"give a folder with it in place of {given}"
    folder = from_hub(ask, about=lambda: on_hub()[0], instead=instead, download=download, tell=tell)
    return Pipeline(given, folder, name, folder.name)


def find_named(options: GeneratorOptions, download: bool, tell: Callable[[str], None] = lambda text: None) -> Pipeline | None:
    """The pipeline that --pretrained or --latent names, see `find_pipeline`; None without one."""
    name = options.pretrained or options.latent
    return None if name is None else find_pipeline(name, download=download, tell=tell)


def pipeline_of(made: GeneratorRecord, *, download: bool, tell: Callable[[str], None] = lambda text: None) -> Pipeline | None:
    """The pipeline of which a finished generator has a network or an autoencoder, where it lay or by its name; None without one.

    Raises:
        DataError: it is not there.
        MismatchError: it is not what the generator was fitted with.
    """
    taken, name = made.pipeline_folder, made.options.pretrained or made.options.latent
    if taken is None or name is None:
        return None
    lies = taken.path is not None and taken.path.is_dir()
    found = Pipeline(name, cast(Path, taken.path)) if lies else find_pipeline(name, download=download, tell=tell)
    if digest_of(weights_taken(made.options, found)) != taken.digest:
        raise MismatchError(f"{found.folder} is not what {made.path} was fitted with; put back {name} as it was")
    return found


def _on_the_hub(name: str, revision: str) -> tuple[str, list[str]]:
    """A repository with its size and licence, as far as the hub answers, and the files wanted of it."""
    import huggingface_hub

    where = f"https://huggingface.co/{name}"
    try:
        info = huggingface_hub.HfApi().model_info(name, revision=revision or None, files_metadata=True, timeout=10)
    except Exception as error:  # noqa: BLE001  # OSError, ValueError, or what httpx or requests raises, by the hub's version
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        return f"{where} (size and licence unknown: {reason})", []
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    files = wanted(list(sizes))
    licence = getattr(info.card_data, "license", None) or "not stated"
    return f"{where} ({sum(sizes[file] for file in files) / 1e9:.1f} GB, licence: {licence})", files


def wanted(names: Sequence[str]) -> list[str]:
    """Of a repository's files those of a pipeline: configurations, the card, and the weights of each part in one form."""
    chosen = []
    for name in names:
        path = Path(name)
        plain = [suffix for suffix in WEIGHTS if str(path.with_suffix(suffix)) in names]
        if (path.name in (INDEX, CONFIG, "README.md") and len(path.parts) == 1) or (
            path.parts[0] in (*NETWORK_PARTS, AUTOENCODER_PART, "scheduler")
            and (path.suffix == ".json" or (path.suffix in plain[:1] and "." not in path.stem))
        ):
            chosen.append(name)
    return chosen
