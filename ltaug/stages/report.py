"""report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ltaug.data.imageset import ImageSet
from ltaug.machine import Machine
from ltaug.methods import TRACKERS
from ltaug.options import DatasetOptions
from ltaug.report.build import build_report
from ltaug.report.document import Report
from ltaug.runs import Listener, ignore_events
from ltaug.stages.opening import load_data


def write_report(
    runs: Sequence[Path],
    *,
    out: Path,
    baseline: str | None = None,
    primary: str | None = None,
    title: str | None = None,
    published: str | None = None,
    machine: Machine = Machine(),  # noqa: B008
    listener: Listener = ignore_events,
) -> Report:
    """Compare the classifiers and the generators found under `runs` in report.html, .md and .json; `ltaug report`.

    Args:
        runs: directories searched for finished train-classifier and evaluate-generator runs.
        baseline: the arm others are compared with [default: "real", else the first arm without synthetic images].
        primary: macro_recall or macro_precision, which claims are made about first [default: macro_recall].
        published: the dataset whose published results to show (cifar100-lt, cifar10-lt) [default: the one that the runs'
            dataset options name, if any].
    """

    def load_train(dataset: DatasetOptions, seed: int) -> ImageSet:
        return load_data(dataset, seed, machine, "report", listener).train

    report = build_report(
        runs,
        out=out,
        load_train=load_train,
        baseline=baseline,
        primary=primary,
        title=title,
        published=published,
        listener=listener,
    )
    for name in machine.track:
        TRACKERS.find(name)(out, "report").close()
    return report
