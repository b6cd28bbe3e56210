"""Small run directories with known numbers, in the format the stages write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ltaug.data.imageset import ImageSet, pixel_digest
from ltaug.files import write_json
from ltaug.manifest import Row, rows_to_csv
from ltaug.runs import open_run

VERSIONS = {"python": "3.11.2", "ltaug": "0.1.0", "torch": "2.9.0"}
DEVICE = {"type": "cpu", "name": "x86_64", "threads": 1, "precision": "float32"}


class Laboratory:
    """Writes fake runs under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []  # on the dataset

    def classifier(
        self,
        arm: str,
        seed: int,
        *,
        recall: Sequence[float],
        counts: Sequence[int],
        precision: float | None = None,
        synthetic_counts: Sequence[int] | None = None,
        resampled_counts: Sequence[int] | None = None,
        synthesis: Path | None = None,
        options: Mapping[str, Any] | None = None,
        train: str | None = None,
        test: str = "t" * 64,
        names: Sequence[str] | None = None,
        about: str = "",
        judge: bool = False,
        finished: bool = True,
        dataset: Mapping[str, Any] | None = None,
        outside: Sequence[Mapping[str, Any]] = (),
    ) -> Path:
        """A classifier run whose recall per class is known; macro precision is the macro recall unless given."""
        k = len(recall)
        path = self.root / arm / f"seed-{seed}" / "classifier"
        order = sorted(range(k), key=lambda c: -counts[c])
        third = max(1, k // 3)
        groups = {"many": order[:third], "medium": order[third:-third], "few": order[-third:]}
        given = {"digest": "s" * 64, "path": path_between(path, synthesis)} if synthesis else {"digest": "s" * 64}
        inputs = {
            "train": {"digest": train or f"{seed}" * 64, "source": "digits", "images": sum(counts)},
            "test": {"digest": test, "source": "digits", "images": 50 * k},
            "synthetic": given if synthesis or synthetic_counts is not None else None,
        }
        stage_options = {
            "arm": arm,
            "about": about,
            "dataset": dict(dataset or {"dataset": "digits"}),
            "train-classifier": dict(options or {"loss": "ce"}),
        }
        if judge:
            stage_options["judge"] = True
        with open_run(
            path,
            stage="train-classifier",
            label=f"{arm}/seed-{seed}",
            seed=seed,
            options=stage_options,
            inputs=inputs,
            versions=VERSIONS,
            device=DEVICE,
        ) as run:
            exact = list(recall if precision is None else np.clip(np.array(recall) + precision - np.mean(recall), 0, 1))
            by_measure = {"recall": recall, "precision": exact}
            grouped = {
                f"{name}/{group}": float(np.mean([values[c] for c in members]))
                for group, members in groups.items()
                for name, values in by_measure.items()
            }
            macro = float(np.mean(recall))
            summary = {"macro_recall": macro, "macro_precision": macro if precision is None else precision, "macro_f1": macro}
            confusion = [[round(50 * recall[i]) if i == j else 0 for j in range(k)] for i in range(k)]
            for i in range(k):
                confusion[i][(i + 1) % k] += 50 - round(50 * recall[i])
            metrics = {
                "summary": {**summary, "accuracy": macro, "ece": 0.05, **grouped},
                "per_class": {"precision": exact, "recall": list(recall), "support": [50] * k},
                "confusion": confusion,
                "class_names": list(names or [str(c) for c in range(k)]),
                "groups": groups,
                "rule": "terciles",
            }
            write_json(path / "metrics.json", metrics)
            (path / "predictions.npz").write_bytes(b"predictions")
            run.note(class_counts=list(counts), synthetic_counts=synthetic_counts, resampled_counts=resampled_counts)
            run.note(groups=groups, rule="terciles", dataset_notes=self.notes, outside=list(outside))
            run.timing("fit", 4.0 + seed)
            if finished:
                run.finish(["metrics.json", "predictions.npz"])
            else:
                run.save()
        return path

    def generator(self, arm: str, seed: int, options: Mapping[str, Any], *, source: Path | None = None) -> Path:
        """A generator's run without its weights."""
        path = self.root / arm / f"seed-{seed}" / "generator"
        with open_run(
            path,
            stage="fit-generator",
            label=f"{arm}/seed-{seed}/generator",
            seed=seed,
            options={"dataset": {"dataset": "digits"}, "fit-generator": dict(options)},
            inputs={"source": {"digest": "g" * 64, "path": path_between(path, source), "steps": 1000}} if source else {},
            versions=VERSIONS,
            device=DEVICE,
        ) as run:
            run.timing("fit", 30.0)
            run.note(parameters=123_456)
            run.finish([])
        return path

    def synthesis(
        self,
        arm: str,
        seed: int,
        real: ImageSet,
        wanted: Mapping[str, int],
        *,
        options: Mapping[str, Any] | None = None,
        weights: str = "g" * 64,
        source: Path | None = None,
    ) -> Path:
        """A synthesis run (with its generator) that kept noisy copies of real images; every second candidate was rejected."""
        generator = self.generator(arm, seed, {"objective": arm.split("-")[0], "steps": 1000}, source=source)
        path = self.root / arm / f"seed-{seed}" / "synthetic"
        rng = np.random.default_rng(seed)
        with open_run(
            path,
            stage="synthesize",
            label=f"{arm}/seed-{seed}/synthetic",
            seed=seed,
            options={"synthesize": dict(options or {"sampler": "dpm++2m", "select_agreement": False})},
            inputs={
                "generator": {"path": path_between(path, generator), "digest": weights},
                "train": {"digest": real.digest},
                "judges": [],
            },
            versions=VERSIONS,
            device=DEVICE,
        ) as run:
            rows = [row for name, n in wanted.items() for row in self._images(path, real, name, n, rng)]
            (path / "manifest.csv").write_bytes(rows_to_csv(rows))
            run.timing("sample", 2.5)
            run.note(
                wanted=dict(wanted),
                kept=dict(wanted),
                candidates={name: 2 * n for name, n in wanted.items()},
                rejected={"disagree": sum(wanted.values()), "far": 0, "copy": 0},
                shortfall={},
                real_nearest={"q01": 0.5, "q05": 0.8, "median": 2.0},
            )
            run.finish(["manifest.csv"])
        return path

    def evaluation(
        self,
        name: str,
        seed: int,
        summary: Mapping[str, float | None],
        *,
        weights: str,
        generator: Path | None = None,
        reasons: Mapping[str, str] | None = None,
        warnings: Sequence[str] = (),
        class_fid: Sequence[float | None] = (1.0, 2.0, 6.0),
        counts: Sequence[int] = (3, 2, 1),
        options: Mapping[str, Any] | None = None,
        finished: bool = True,
        **provenance: Any,
    ) -> Path:
        """An evaluation of the generator with these weights, in the form of ltaug.evaluation.stage."""
        path = self.root / name / f"seed-{seed}" / "evaluation"
        measured = {"extractor": "classifier", "extractor_digest": "e" * 64, "reference": "balanced", "samples": 2000}
        measured |= {"reference_digest": "r" * 64, "reference_images": 30, "sampler": "dpm++2m", "sample_steps": 20}
        measured |= {"guidance": 0.0, "seed": seed, "dataset": "digits"} | provenance
        where = path_between(path, generator) if generator else None
        with open_run(
            path,
            stage="evaluate-generator",
            label=f"seed-{seed}/{name}/evaluation",
            seed=seed,
            options={"arm": "", "about": "", "evaluate-generator": {"neighbours": 5, "clusters": 20, **(options or {})}},
            inputs={"generator": {"digest": weights, "path": where}},
            versions=VERSIONS,
            device=DEVICE,
        ) as run:
            k = len(counts)
            metrics = {
                "summary": dict(summary),
                "reasons": dict(reasons or {}),
                "warnings": list(warnings),
                "per_class": {"class_fid": list(class_fid)},
                "class_names": [chr(ord("a") + i) for i in range(k)],
                "class_counts": list(counts),
                "groups": {"many": [0], "medium": list(range(1, k - 1)), "few": [k - 1]},
                "provenance": measured,
            }
            write_json(path / "metrics.json", metrics)
            pairs = np.random.default_rng(seed).integers(0, 256, (38, 172)).astype(np.uint8)
            Image.fromarray(pairs).save(path / "closest-pairs.png")
            if finished:
                run.finish(["metrics.json", "closest-pairs.png"])
            else:
                run.save()
        return path

    @staticmethod
    def _images(path: Path, real: ImageSet, name: str, n: int, rng: np.random.Generator) -> list[Row]:
        own = np.flatnonzero(real.labels == real.class_names.index(name))
        folder = path / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        sampled = {"seed": 0, "guidance": 0.0, "guidance_interval": "", "sampler": "ddim", "steps": 10, "checkpoint": ""}
        rows: list[Row] = []
        for i in range(n):
            nearest = int(own[i % len(own)])
            noisy = np.clip(real.images[nearest, 0] + rng.normal(0, 25, real.images.shape[2:]), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{i:05d}.png")
            distance = round(float(rng.uniform(0.4, 3.0)), 4)
            near = {"class_": name, "feature_distance": "", "nearest_real": nearest, "nearest_distance": str(distance)}
            file, digest = f"images/{name}/{i:05d}.png", pixel_digest(noisy)
            rows.append(Row(**sampled, **near, index=i, file=file, verdict="kept", sha256=digest))
            rows.append(Row(**sampled, **near, index=n + i, file="", verdict="disagree", sha256=""))
        return rows


def path_between(start: Path, end: Path) -> str:
    """`end` as seen from `start`."""
    return os.path.relpath(end, start)


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    """A place to write fake runs."""
    return Laboratory(tmp_path / "runs")


@pytest.fixture(scope="session")
def tiny_real() -> ImageSet:
    """Six real 8x8 images of three classes: 3, 2 and 1."""
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)).astype(np.uint8)
    return ImageSet(images, np.array([0, 0, 0, 1, 1, 2]), ("a", "b", "c"), "digits")


@pytest.fixture
def small_experiment(lab: Laboratory, tiny_real: ImageSet) -> Callable[[], Path]:
    """Three classes, three arms, three seeds: synthetic images gain exactly .1, .2 and .3 of macro recall."""

    def write() -> Path:
        counts = [3, 2, 1]
        for seed in range(3):
            base = [0.9, 0.6, 0.3]
            lab.classifier(
                "real", seed, recall=base, counts=counts, names="abc", train=tiny_real.digest, about="real images only"
            )
            synthesis = lab.synthesis("cbdm", seed, tiny_real, {"b": 1, "c": 2})
            gain = 0.1 * (seed + 1)
            lab.classifier(
                "cbdm",
                seed,
                recall=[0.9 - 0.05 * (seed == 0), 0.6 + gain, 0.3 + 2 * gain + 0.05 * (seed == 0)],
                counts=counts,
                names="abc",
                train=tiny_real.digest,
                synthetic_counts=[0, 1, 2],
                synthesis=synthesis,
            )
            cheap = [0.9, 0.6 + gain, 0.3 + 2 * gain + 0.03 * (1 - seed)]
            lab.classifier(
                "logit-adjusted",
                seed,
                recall=cheap,
                counts=counts,
                names="abc",
                train=tiny_real.digest,
                options={"loss": "logit-adjusted"},
            )
        return lab.root

    return write
