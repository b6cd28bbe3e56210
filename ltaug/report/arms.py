"""Arms against each other: means over seeds, paired differences, and which arm each one answers to."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from ltaug.options import SamplingOptions
from ltaug.records import ClassifierRecord
from ltaug.report.collect import PRIMARY, Experiment, trained
from ltaug.report.statistics import Paired, paired

# Settings that say how synthetic images enter training; arms that differ in nothing else are partners. Those of distillation are
# among them where only synthetic images are distilled.
SYNTHETIC_SETTINGS = ("synthetic_weight", "synthetic_fraction", "prior")
DISTILLATION = ("distill", "teachers", "distill_weight", "distill_temperature", "distill_power")
SAMPLING = frozenset(SamplingOptions.__dataclass_fields__)


class Rivals(NamedTuple):
    """Arms that differ in nothing but the generator of their images and, unless `sampled_alike`, in how it is sampled."""

    arms: tuple[str, ...]
    sampled_alike: bool


@dataclass(frozen=True)
class Scores:
    """Every measured number (arm -> metric -> seed -> value) and who is compared with whom.

    Attributes:
        synthetic: the arms trained with synthetic images.
        partners: for an arm with synthesis, the arm that is trained alike but on the real images alone, if there is one.
        controls: likewise the arm that is trained alike on real images resampled to the same class counts.
        rivals: groups of arms whose synthetic images come from different generators, selected and used alike.
        primary: the metric by which arms are ordered and claims are made first.
        fixed_draw: every seed has the same real training images and, in an arm, the same synthetic ones.
        starts: of an arm whose classifiers start from outside weights the digests of these (`ClassifierRecord.start`).
    """

    values: Mapping[str, Mapping[str, Mapping[int, float]]]
    synthetic: frozenset[str]
    partners: Mapping[str, str]
    baseline: str
    rivals: tuple[Rivals, ...] = ()
    controls: Mapping[str, str] = field(default_factory=dict)
    primary: str = PRIMARY[0]
    fixed_draw: bool = False
    starts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def comparable(self) -> Scores:
        """The arms whose classifiers start from what the baseline's start from: differences from others may be the weights'."""
        alike = {arm for arm in self.values if self.starts.get(arm, ()) == self.starts.get(self.baseline, ())}
        if len(alike) == len(self.values):
            return self
        return replace(
            self,
            values={arm: by_metric for arm, by_metric in self.values.items() if arm in alike},
            synthetic=self.synthetic & alike,
            partners={arm: other for arm, other in self.partners.items() if arm in alike},
            controls={arm: other for arm, other in self.controls.items() if arm in alike},
            rivals=tuple(group for group in self.rivals if alike.issuperset(group.arms)),
        )

    @property
    def secondary(self) -> str:
        """The metric in which claims are made after `primary`."""
        return next(metric for metric in PRIMARY if metric != self.primary)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Every metric any arm has, in the order of the runs."""
        return tuple(dict.fromkeys(key for by_metric in self.values.values() for key in by_metric))

    def paired(self, arm: str, other: str, metric: str = PRIMARY[0]) -> Paired:
        """`arm` minus `other` over shared seeds."""
        return paired(self.values[arm].get(metric, {}), self.values[other].get(metric, {}))

    def mean(self, arm: str) -> float:
        """Mean of the primary metric."""
        values = list(self.values[arm][self.primary].values())
        return sum(values) / len(values)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The baseline, then arms without synthesis, then arms with it, each from lowest to highest."""
        return tuple(sorted(self.values, key=lambda arm: (arm != self.baseline, arm in self.synthetic, self.mean(arm))))

    @property
    def best_with(self) -> str | None:
        """The arm with synthetic images that scored highest on average."""
        return max(sorted(self.synthetic), key=self.mean, default=None)

    @property
    def best_without(self) -> str | None:
        """The arm without synthetic images that scored highest on average; may be the baseline."""
        return max(sorted(set(self.values) - self.synthetic), key=self.mean, default=None)

    @cached_property
    def judged(self) -> tuple[str, ...]:
        """The arms by which synthetic images are judged, from lowest to highest.

        Those that change nothing but the images against the baseline, and those that no arm without images is trained alike with,
        which have their control to be compared with. Where there are none, those that have a partner.
        """
        made = [arm for arm in self.order if arm in self.synthetic]
        alone = [arm for arm in made if arm not in self.partners and arm in self.controls]
        clean = [arm for arm in made if self.partners.get(arm) == self.baseline or arm in alone]
        return tuple(clean or [arm for arm in made if arm in self.partners])

    @property
    def featured(self) -> str | None:
        """The arm that shows what synthetic images do: the best of those that are judged by the baseline or a control alone.

        Where there are none, the best arm with synthetic images; None where the baseline itself has them, since nothing then
        shows what they do.
        """
        if self.baseline in self.synthetic:
            return None
        best = [arm for arm in self.judged if self.partners.get(arm, self.baseline) == self.baseline]
        return best[-1] if best else self.best_with


def score(experiment: Experiment, *, primary: str = PRIMARY[0]) -> Scores:
    """The numbers of an experiment, ready to be compared."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for arm, by_seed in experiment.results.items():
        for seed, result in sorted(by_seed.items()):
            for metric, value in result.summary.items():
                values.setdefault(arm, {}).setdefault(metric, {})[seed] = value
    records = {arm: experiment.first(arm).record for arm in experiment.results}
    synthetic = frozenset(arm for arm in records if experiment.synthetic(arm))
    resampled = [arm for arm, record in records.items() if record.resampled_counts is not None]
    real = sorted((arm for arm in records if arm not in {*synthetic, *resampled}), key=lambda arm: arm != experiment.baseline)
    options = {arm: trained(record) for arm, record in records.items()}
    training = {arm: _without_synthesis(own) for arm, own in options.items()}
    partners = {arm: other for arm in synthetic for other in reversed(real) if training[other] == training[arm]}
    controls = {
        arm: _nearest(records, arm, alike) for arm in synthetic if (alike := [c for c in resampled if options[c] == options[arm]])
    }
    return Scores(
        values,
        synthetic,
        partners,
        experiment.baseline,
        _rivals(experiment),
        controls,
        primary,
        _one_draw(experiment, synthetic),
        {arm: record.start for arm, record in records.items() if record.start},
    )


def _without_synthesis(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say how real images are trained on."""
    left_out = SYNTHETIC_SETTINGS + (DISTILLATION if options["distill"] in ("none", "synthetic") else ())
    return {key: value for key, value in options.items() if key not in left_out}


def _nearest(records: Mapping[str, ClassifierRecord], arm: str, controls: Sequence[str]) -> str:
    """Of controls that are trained alike, the one whose class counts are the nearest to the arm's."""

    def apart(control: str) -> int:
        made, drawn = records[arm].synthetic_counts or (), records[control].resampled_counts or ()
        return sum(abs(a - b) for a, b in zip(made, drawn, strict=True))

    return min(controls, key=apart)


def _one_draw(experiment: Experiment, synthetic: Collection[str]) -> bool:
    """Whether all of several seeds have the same real images and, in every arm, the same synthetic ones."""

    def one(arm: str) -> bool:
        runs = [result.record.synthetic_run for result in experiment.results[arm].values()]
        return len({run.digest for run in runs if run is not None}) == 1

    real = {result.record.train_digest for result in experiment.runs}
    return len(experiment.seeds) > 1 and len(real) == 1 and all(map(one, synthetic))


def _rivals(experiment: Experiment) -> tuple[Rivals, ...]:
    groups: dict[str, dict[tuple[str, str], str]] = {}  # selection and training -> (sampling, generator) -> its first arm
    for arm in experiment.results:
        synthesis = experiment.first(arm).synthesis
        if synthesis is not None:
            training, asked = trained(experiment.first(arm).record), asdict(synthesis.options)
            sampling, selection = ({k: v for k, v in asked.items() if (k in SAMPLING) == own} for own in (True, False))
            arms = groups.setdefault(json.dumps([selection, training], sort_keys=True), {})
            arms.setdefault((json.dumps(sampling, sort_keys=True), synthesis.generator_run.digest), arm)
    return tuple(Rivals(tuple(g.values()), len({how for how, _ in g}) == 1) for g in groups.values() if len(g) > 1)
