"""Gates before the verdict: leaked test images, copied training images, duplicates, images of unknown origin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from ltaug.metrics.overlap import COPY_LIMIT, LEAK_LIMIT, leaked
from ltaug.report.collect import Experiment
from ltaug.report.wording import count, several

# How images were given whose making is unknown (ClassifierRecord.synthetic_origin).
FORMS = {"folder": "as class folders", "npz": "in a .npz file", "shards": "as WebDataset shards"}

PASSED = {"leak": "no leaks", "copies": "no copies", "duplicates": "no duplicates", "origin": "origin known"}


@dataclass(frozen=True)
class Gate:
    """One question that is settled before the numbers of an experiment are read."""

    kind: str  # "leak", "copies", "duplicates", "origin" or "outside"
    outcome: str  # "ok", "warn" or "stop"
    text: str  # one sentence
    arms: tuple[str, ...] = ()  # that a "warn" or "stop" is about; none: all

    @property
    def passed(self) -> str:
        """What is said in two words where nothing was found."""
        return PASSED[self.kind]


def gates(experiment: Experiment) -> tuple[Gate, ...]:
    """The gates that concern an experiment, in the order of their weight: leak and copies where arms have synthetic images,
    duplicates where the runs counted them, origin where nothing is known of how an arm's images were made.
    """
    synthetic = [arm for arm in experiment.results if experiment.synthetic(arm)]
    near_test = _shares_of(experiment, synthetic, "near_test", max)  # one leak is enough
    near_train = _shares_of(experiment, synthetic, "near_train", fmean)
    found = [_leak(experiment, synthetic, near_test)] if synthetic else []
    found += [_copies(near_train, _shares_of(experiment, synthetic, "near_features", fmean))] if near_train else []
    found += [_duplicates(experiment)] if any(run.record.duplicates for run in experiment.runs) else []
    origin = _origin(experiment)
    return (*found, *([origin] if origin else []))


def _origin(experiment: Experiment) -> Gate | None:
    """The arms whose synthetic images ltaug did not make, if there are any."""
    given = [run for run in experiment.runs if run.brought]
    if not given:
        return None
    arms = tuple(dict.fromkeys(run.arm for run in given))
    how = several(list(dict.fromkeys(FORMS[run.record.synthetic_origin] for run in given)))
    text = f"Nothing is known of how the synthetic images of {several(arms)} were made: they were given {how}."
    return Gate("origin", "warn", text, arms)


def _shares_of(
    experiment: Experiment, arms: Iterable[str], share: str, over_seeds: Callable[[list[float]], float]
) -> dict[str, float]:
    """One share over the seeds that were checked, of the arms that have one, largest first."""
    told = {arm: [run.record.overlap.get(share) for run in experiment.results[arm].values()] for arm in arms}
    known = {arm: [float(value) for value in values if value is not None] for arm, values in told.items()}
    found = {arm: over_seeds(values) for arm, values in known.items() if values}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _leak(experiment: Experiment, synthetic: list[str], near_test: dict[str, float]) -> Gate:
    over = _over(near_test, LEAK_LIMIT)
    checked = [run.record.overlap for run in experiment.runs if run.record.overlap]
    if any(leaked(overlap["near_test"], overlap["checked"]) for overlap in checked):
        text = f"Synthetic images show test images ({_shares(over)}; limit {_percent(LEAK_LIMIT)}), which voids every comparison."
        return Gate("leak", "stop", text, tuple(over))
    if over:
        text = f"Some synthetic images come as near to a test image as leaked ones would ({_shares(over)}; limit "
        return Gate("leak", "warn", f"{text}{_percent(LEAK_LIMIT)}), but so few of them that it may be chance.", tuple(over))
    unchecked = tuple(arm for arm in synthetic if not all(run.record.overlap for run in experiment.results[arm].values()))
    if unchecked:
        text = f"Whether synthetic images of {several(unchecked)} show test images was not checked: the runs do not say."
        return Gate("leak", "warn", text, unchecked)
    share = max(near_test.values())
    largest = (
        f"at most {_percent(share)} of an arm's synthetic images look like one" if share else "no synthetic image looks like one"
    )
    sampled = [overlap["checked"] for overlap in checked if overlap["checked"] < overlap["images"]]
    looked_at = f", in random samples of {max(sampled):,}" if sampled else ""
    return Gate("leak", "ok", f"No test images leaked: {largest} (limit {_percent(LEAK_LIMIT)}{looked_at}).")


def _copies(near_train: dict[str, float], near_features: dict[str, float]) -> Gate:
    over, altered = (_over(shares, COPY_LIMIT) for shares in (near_train, near_features))
    told = [_shares(over)] if over else []
    told += [f"in a classifier's features, shifted, cropped or changed otherwise: {_shares(altered)}"] if altered else []
    if told:
        text = f"Synthetic images copy training images ({'; '.join(told)}; limit {_percent(COPY_LIMIT)})"
        return Gate("copies", "warn", f"{text}, so a gain may come from class balance alone.", tuple(over | altered))
    largest = f"at most {_percent(max(near_train.values()))} of the synthetic images of an arm"
    largest += f", in a classifier's features {_percent(max(near_features.values()))}" if near_features else ""
    return Gate("copies", "ok", f"Few synthetic images copy a training image: {largest} (limit {_percent(COPY_LIMIT)}).")


def _duplicates(experiment: Experiment) -> Gate:
    both, within = (
        max(int(run.record.duplicates.get(key, 0)) for run in experiment.runs) for key in ("test_in_train", "within_train")
    )
    repeated = f"{count(within, 'training image')} {'repeats another' if within == 1 else 'repeat others'}"
    if not both:
        end = f"; {repeated}" if within else ""
        return Gate("duplicates", "ok", f"No test image is a training image too{end}.")
    text = f"{count(both, 'test image is a training image', 'test images are training images')} too, which flatters every arm"
    return Gate("duplicates", "warn", f"{text}{f'; {repeated}' if within else ''}.")


def _over(shares: dict[str, float], limit: float) -> dict[str, float]:
    return {arm: share for arm, share in shares.items() if share > limit}


def _shares(shares: dict[str, float]) -> str:
    return several([f"{arm} {_percent(share)}" for arm, share in shares.items()])


def _percent(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"
