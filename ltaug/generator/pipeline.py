"""Published pipelines of diffusers: a folder, or a repository of the hub, with a network, its scheduler and an autoencoder.

Only JSON is read here, and of what it names only tensors are loaded: safetensors, or .bin with weights_only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ltaug.errors import CorruptError, DataError, MismatchError
from ltaug.files import file_digest
from ltaug.outside import Outside
from ltaug.registry import require_extra

if TYPE_CHECKING:
    from torch import nn

    from ltaug.generator.denoiser import Preconditioning
    from ltaug.options import GeneratorOptions

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler/scheduler_config.json"
NETWORK_PARTS, AUTOENCODER_PART = ("transformer", "unet"), "vae"
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
WEIGHTS = (".safetensors", ".bin")  # the first of them that is there; .bin is read with weights_only


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's folder, and where it is from."""

    name: str  # as it was given
    folder: Path
    repository: str = ""  # of the hub, with the commit as `revision`
    revision: str = ""

    def part(self, *names: str) -> Path:
        """The folder of the first of these parts that is there, or of the whole if it is such a part by itself.

        Raises:
            DataError: none is there.
        """
        for folder in (*(self.folder / name for name in names), self.folder):
            if (folder / CONFIG).is_file():
                return folder
        wanted = " or ".join(f"{name}/{CONFIG}" for name in names)
        raise DataError(f"{self.name}: {self.folder} has no {wanted}; give the folder of a whole pipeline of diffusers")

    @property
    def has_autoencoder(self) -> bool:
        return (self.folder / AUTOENCODER_PART / CONFIG).is_file()

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json, empty where there is none."""
        return self._json(self.folder / INDEX) if (self.folder / INDEX).is_file() else {}

    @cached_property
    def labels(self) -> dict[str, int]:
        """The row of each class that the network was trained on, by its lower-case names."""
        given = self.index.get("id2label") or {}
        if not isinstance(given, dict) or not all(row.isdecimal() for row in given):
            raise CorruptError(f"{self.name}: id2label of {INDEX} does not number names; download it again")
        pairs = ((int(row), str(names)) for row, names in given.items())
        return {plain_name(name): row for row, names in pairs for name in (names, *names.split(","))}

    def origin(self, role: str, *folders: Path) -> Outside:
        """The weights in these folders, in this role."""
        files = {str(file.relative_to(self.folder)): file_digest(file) for folder in folders for file in _files_of(folder)}
        card = self._card()
        trained_on = card.get("datasets")
        return Outside(
            role=role,
            name=self.name,
            files=files,
            repository=self.repository or None,
            revision=self.revision or None,
            licence=card.get("license"),
            trained_on=", ".join(trained_on) if isinstance(trained_on, list) else trained_on,
        )

    def _card(self) -> Mapping[str, Any]:
        from huggingface_hub import metadata_load
        from yaml import YAMLError

        card = self.folder / "README.md"
        try:
            return (metadata_load(card) or {}) if card.is_file() else {}
        except (YAMLError, ValueError):  # of a card that nobody can read nothing is known
            return {}

    def config(self, folder: Path, known: Sequence[str]) -> dict[str, Any]:
        """The configuration in a part's folder; raises MismatchError unless its class is one of those known."""
        found = self._json(folder / CONFIG)
        if (found.get("_class_name"), found.get("norm_type")) == ("Transformer2DModel", "ada_norm_zero"):
            found["_class_name"] = "DiTTransformer2DModel"  # as the published DiTs are called, which are older than this class
        if found.get("_class_name") not in known:
            raise MismatchError(
                f"{self.name} has a {found.get('_class_name')} in {folder.name}, of which ltaug makes no use; "
                f"give a pipeline with {' or '.join(known)}"
            )
        return found

    def preconditioning(self) -> Preconditioning:
        """What the scheduler's noise levels are.

        Raises:
            DataError: there is no scheduler.
            MismatchError: it is of another kind.
        """
        from ltaug.generator.preconditioning import EDM, VP, betas

        if not (self.folder / SCHEDULER).is_file():
            raise DataError(f"{self.name}: {self.folder} has no {SCHEDULER}; give the folder of a whole pipeline of diffusers")
        told = self._json(self.folder / SCHEDULER)
        prediction = told.get("prediction_type", "epsilon")
        schedule, steps = told.get("beta_schedule"), told.get("num_train_timesteps", 1000)
        try:
            if "sigma_data" in told and prediction == "epsilon":
                names = ("sigma_data", "sigma_min", "sigma_max", "rho")
                return EDM(**{name: float(told[name]) for name in names if name in told})
            levels = betas(schedule, steps, told.get("beta_start", 1e-4), told.get("beta_end", 0.02), told.get("trained_betas"))
        except (TypeError, ValueError, RuntimeError) as error:
            raise CorruptError(f"{self.name}: {SCHEDULER} has no noise levels ({error}); download it again") from error
        if levels is None or prediction not in ("epsilon", "v_prediction") or told.get("rescale_betas_zero_snr"):
            kind = f"{told.get('_class_name')} with {schedule} betas and {prediction}"
            raise MismatchError(
                f"{self.name} has a scheduler of another kind ({kind}{', zero SNR' * bool(told.get('rescale_betas_zero_snr'))}); "
                "give a pipeline with linear, scaled_linear or squaredcos_cap_v2 betas that predicts epsilon or v"
            )
        return VP(levels, prediction=prediction)

    def load(self, folder: Path, known: Sequence[str], **changed: Any) -> nn.Module:
        """The module in a part's folder, in float32, its configuration changed; on the device `meta` without its weights.

        Raises:
            OptionError: diffusers is not installed.
            DataError: its weights are not there, not whole, or a file holds more than tensors.
            MismatchError: see `config`; they are another network's.
        """
        require_extra("diffusers", "diffusers", self.name)
        import diffusers
        import torch

        config = self.config(folder, known)
        cls: Any = getattr(diffusers, config["_class_name"])
        try:
            if torch.get_default_device().type == "meta":
                return cast("nn.Module", cls.from_config(config | changed))
            network, found = cls.from_pretrained(
                folder, torch_dtype=torch.float32, local_files_only=True, output_loading_info=True, **changed
            )
        except (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            what = f"{folder} has weights of another network than its {CONFIG} describes, or that describes none"
            raise MismatchError(f"{self.name}: {what} ({reason}); give another") from error
        except OSError as error:
            raise DataError(
                f"{self.name}: {folder} has no whole weights as .safetensors, or as .bin of tensors alone "
                f"({str(error).splitlines()[0][:160]}); download them again, or save them by save_pretrained"
            ) from error
        if lacking := found["missing_keys"]:
            differing = f"{lacking[0]} and {len(lacking) - 1} more are missing"
            raise MismatchError(f"{self.name}: the weights in {folder} are not those of its {CONFIG} ({differing}); give another")
        return cast("nn.Module", network)

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorruptError(f"{self.name}: {path} cannot be read ({error}); download it again") from error
        if not isinstance(found, dict):
            raise CorruptError(f"{self.name}: {path} holds no configuration; download it again")
        return found


def plain_name(name: str) -> str:
    """A class's name as those of different sets are compared."""
    return name.strip().lower().replace("_", " ").replace("-", " ")


def weights_taken(options: GeneratorOptions, pipeline: Pipeline) -> list[Outside]:
    """The weights that a generator of these options takes from the pipeline."""
    taken = []
    if options.pretrained is not None:
        taken.append(pipeline.origin("generator", pipeline.part(*NETWORK_PARTS), (pipeline.folder / SCHEDULER).parent))
    if options.latent is not None or pipeline.has_autoencoder:
        taken.append(pipeline.origin("autoencoder", pipeline.part(AUTOENCODER_PART)))
    return taken


def digest_of(weights: Iterable[Outside]) -> str:
    """SHA-256 over the names and digests of all files of these weights."""
    files = sorted(pair for one in weights for pair in one.files.items())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _files_of(folder: Path) -> list[Path]:
    """The configuration and the weights of a part."""
    files = sorted(file for file in folder.glob("*") if file.is_file())
    weights = next((found for suffix in WEIGHTS if (found := [file for file in files if file.suffix == suffix])), [])
    return [*(file for file in files if file.suffix == ".json"), *weights]
