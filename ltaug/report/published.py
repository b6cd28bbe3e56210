"""Headline results of the papers on CIFAR-LT, for the reader to set these runs against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ltaug.errors import OptionError, nearest
from ltaug.metrics.measures import MEASURES
from ltaug.options import DatasetOptions
from ltaug.report.collect import HEADLINE

KEYS = ("fid", "inception_score", "f8", "recall", "f1_8", "macro_precision", "macro_recall")
ABOUT = (
    "These are the papers' figures, and protocols differ: their generators train for 300,000 steps (CORAL's own runs: 150,000), "
    "their images are measured in Inception features, 50,000 against the balanced training set, and their classifiers are "
    "ResNet-32 with 50,000 generated images, the same number of each class."
)
QIN = "Qin et al., CVPR 2023, arXiv 2305.00562"
RODRIGUEZ = "Rodriguez et al., NeurIPS 2025, arXiv 2506.15933"
Row = tuple[str, str, tuple[float | None, ...]]  # method, source, a value for each of KEYS as far as there is one


@dataclass(frozen=True)
class Published:
    """Results on one dataset: `source` with an exponential profile and imbalance 100."""

    name: str
    source: str
    rows: tuple[Row, ...]
    about: str = ABOUT

    @property
    def columns(self) -> dict[str, str]:
        """Measure -> heading, of the measures that any row has."""
        width = max(len(values) for *_, values in self.rows)
        return {key: HEADLINE[key] if key in HEADLINE else MEASURES[key].heading for key in KEYS[:width]}

    @property
    def table(self) -> list[tuple[str, str, list[float | None]]]:
        """Method, source, and a value or None for every column."""
        width = len(self.columns)
        return [(method, source, [*values, *[None] * (width - len(values))]) for method, source, values in self.rows]


PUBLISHED: Mapping[str, Published] = {
    "cifar100-lt": Published("CIFAR-100-LT", "cifar100", (
        ("DDPM", QIN, (7.38, 13.11, 0.85, 0.52, 0.88)),
        ("DDPM + ADA", QIN, (6.16, 12.71, 0.91, 0.57, 0.90)),
        ("CBDM", QIN, (6.00, None, None, 0.59)),
        ("CBDM + ADA", QIN, (5.81, 13.34, 0.91, 0.57, 0.90)),
        ("DDPM", RODRIGUEZ, (7.70,)),
        ("CBDM", RODRIGUEZ, (6.02,)),
        ("T2H", RODRIGUEZ, (6.78,)),
        ("CORAL", RODRIGUEZ, (5.37,)),
        ("classifier of the long-tailed set alone", QIN, (None, None, None, None, None, 0.45, 0.39)),
        ("classifier with images of DDPM", QIN, (None, None, None, None, None, 0.48, 0.44)),
        ("classifier with images of CBDM", QIN, (None, None, None, None, None, 0.49, 0.47)),
        ("classifier of the full balanced set", QIN, (None, None, None, None, None, 0.70, 0.67)),
    )),
    "cifar10-lt": Published("CIFAR-10-LT", "cifar10", (
        ("DDPM", QIN, (5.76, 9.17, 0.97, 0.57, 0.95)),
        ("CBDM", QIN, (5.46, 9.28, 0.97, 0.59, 0.95)),
        ("DDPM", RODRIGUEZ, (6.17,)),
        ("CBDM", RODRIGUEZ, (5.62,)),
        ("T2H", RODRIGUEZ, (7.01,)),
        ("CORAL", RODRIGUEZ, (5.32,)),
    )),
}  # fmt: skip


def published_on(name: str) -> Published:
    """The results on a dataset by its name; raises OptionError, with the nearest name, where there are none."""
    if name not in PUBLISHED:
        raise OptionError(f"--published {name!r} is not a dataset with published numbers; {nearest(name, PUBLISHED)}")
    return PUBLISHED[name]


def recognised(datasets: Iterable[DatasetOptions]) -> Published | None:
    """The results on the dataset that all runs use by their options; None where there are none."""
    used = {(d.dataset, d.imbalance, d.profile) for d in datasets}
    return next((found for found in PUBLISHED.values() if used == {(found.source, 100, "exp")}), None)
