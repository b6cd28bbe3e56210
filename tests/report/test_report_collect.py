"""Finding runs, refusing those that do not belong together, lining classes up."""

import hashlib
import json
import math

import numpy as np
import pytest

from ltaug.errors import CorruptError, MismatchError, OptionError
from ltaug.report.arms import score
from ltaug.report.build import build_report
from ltaug.report.classes import class_table, confusion_change
from ltaug.report.collect import collect
from ltaug.report.method import selections, settings

HALF = [0.5, 0.5, 0.5]
COUNTS = [3, 2, 1]


def test_runs_are_lined_up_as_arms_by_seeds(small_experiment):
    found = collect([small_experiment()])
    assert {arm: sorted(runs) for arm, runs in found.results.items()} == {
        "cbdm": [0, 1, 2],
        "logit-adjusted": [0, 1, 2],
        "real": [0, 1, 2],
    }
    assert (found.baseline, found.seeds, found.class_names) == ("real", (0, 1, 2), ("a", "b", "c"))
    assert [arm for arm in found.results if found.synthetic(arm)] == ["cbdm"]


def test_a_directory_given_twice_counts_once(small_experiment):
    root = small_experiment()
    assert len(collect([root, root / "real", root / "real" / "seed-0"]).runs) == 9


def test_unfinished_runs_are_named_and_judges_are_ignored(lab):
    lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    lab.classifier("real", 1, recall=HALF, counts=COUNTS, finished=False)
    lab.classifier("judge", 0, recall=HALF, counts=COUNTS, judge=True)
    found = collect([lab.root])
    assert list(found.results) == ["real"]
    assert found.skipped == ("real/seed-1",)


def test_partners_are_trained_alike_but_for_the_synthetic_images(small_experiment, lab):
    root = small_experiment()
    options = {"loss": "logit-adjusted", "synthetic_fraction": 0.5}
    train = collect([root]).runs[0].record.train_digest
    lab.classifier("both", 0, recall=HALF, counts=COUNTS, names="abc", train=train, synthetic_counts=[0, 1, 2], options=options)
    assert score(collect([root])).partners == {"cbdm": "real", "both": "logit-adjusted"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": "xyz"}, "different classes"),
        ({"test": "other"}, "tested on different images"),
        ({"train": "other"}, "share seed 0 but not their real training images"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(lab, change, message):
    lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    lab.classifier("other", 0, recall=HALF, counts=COUNTS, **change)
    with pytest.raises(MismatchError, match=message):
        collect([lab.root])


def test_one_arm_with_two_settings_is_refused_and_the_difference_named(lab):
    lab.classifier("real", 0, recall=HALF, counts=COUNTS, options={"lr": 0.1})
    lab.classifier("real", 1, recall=HALF, counts=COUNTS, options={"lr": 0.2})
    with pytest.raises(MismatchError, match=r"train-classifier\.lr: 0\.1 before, 0\.2 now"):
        collect([lab.root])


def test_the_same_arm_and_seed_in_two_places_is_refused(lab):
    path = lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    path.rename(lab.root / "copy")
    lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    with pytest.raises(MismatchError, match="both 'real' at seed 0"):
        collect([lab.root])


def test_nothing_to_report_on_says_what_to_run(lab, tmp_path):
    with pytest.raises(OptionError, match="is not a directory"):
        collect([tmp_path / "absent"])
    lab.classifier("real", 0, recall=HALF, counts=COUNTS, finished=False)
    with pytest.raises(OptionError, match=r"no finished classifier run .*1 unfinished: real/seed-0.*ltaug run"):
        collect([lab.root])


def test_an_unknown_baseline_suggests_the_nearest(small_experiment):
    with pytest.raises(OptionError, match="did you mean 'cbdm'"):
        collect([small_experiment()], baseline="cbmd")


def test_changed_metrics_are_refused(lab):
    path = lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    text = (path / "metrics.json").read_text()
    (path / "metrics.json").write_text(text.replace("0.5", "0.9"))
    with pytest.raises(CorruptError, match="SHA-256"):
        collect([lab.root])


def test_an_unknown_primary_metric_suggests_the_nearest(small_experiment, tmp_path):
    with pytest.raises(OptionError, match="did you mean 'macro_precision'"):
        build_report([small_experiment()], out=tmp_path / "report", load_train=None, primary="precision")


def test_claims_are_about_the_primary_metric(small_experiment, tmp_path):
    report = build_report([small_experiment()], out=tmp_path / "report", load_train=None, primary="macro_precision")
    assert all(one.metric == "macro_precision" for one in report.verdict.standing.against.values())


def test_a_control_belongs_to_the_arms_that_are_trained_alike_and_have_the_nearest_counts(lab):
    adjusted = {"loss": "logit-adjusted"}
    lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    lab.classifier("small", 0, recall=HALF, counts=COUNTS, synthetic_counts=[0, 1, 1])
    lab.classifier("large", 0, recall=HALF, counts=COUNTS, synthetic_counts=[0, 5, 9])
    lab.classifier("adjusted", 0, recall=HALF, counts=COUNTS, synthetic_counts=[0, 5, 9], options=adjusted)
    lab.classifier("resampled", 0, recall=HALF, counts=COUNTS, resampled_counts=[0, 1, 2])
    lab.classifier("resampled-large", 0, recall=HALF, counts=COUNTS, resampled_counts=[0, 5, 9])
    found = score(collect([lab.root]))
    assert found.controls == {"small": "resampled", "large": "resampled-large"}
    assert found.partners == {"small": "real", "large": "real"}
    assert found.synthetic == {"small", "large", "adjusted"}


def test_one_draw_and_one_set_of_images_for_all_seeds_is_told_from_a_draw_a_seed(lab):
    for seed in range(2):
        lab.classifier("real", seed, recall=HALF, counts=COUNTS, train="a" * 64)
        lab.classifier("cbdm", seed, recall=HALF, counts=COUNTS, train="a" * 64, synthetic_counts=[0, 1, 2])
    assert score(collect([lab.root])).fixed_draw
    lab.root = lab.root / "drawn"
    for seed in range(2):
        lab.classifier("real", seed, recall=HALF, counts=COUNTS)
    assert not score(collect([lab.root])).fixed_draw


def edit_metrics(run, **parts):
    """Put other values into metrics.json, and into a record without a seal their digest."""
    metrics = json.loads((run / "metrics.json").read_text())
    for part, values in parts.items():
        metrics[part] |= values
    (run / "metrics.json").write_text(json.dumps(metrics))
    record = json.loads((run / "run.json").read_text())
    record["outputs"]["metrics.json"] = hashlib.sha256((run / "metrics.json").read_bytes()).hexdigest()
    del record["sha256"], record["format"]
    (run / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize("name", ["metrics.json", "predictions.npz"])
def test_a_run_whose_figures_or_predictions_were_changed_is_refused(name, lab):
    path = lab.classifier("real", 0, recall=HALF, counts=COUNTS) / name
    path.write_bytes(path.read_bytes().replace(b"r", b"s", 1))
    with pytest.raises(CorruptError, match=f"{name} is damaged"):
        collect([lab.root])


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("summary", {"macro_recall": math.nan}, "NaN is no JSON"),
        ("summary", {"recall/few": math.inf}, "Infinity is no JSON"),
        ("summary", {"macro_precision": "high"}, "macro_precision is 'high', where a number"),
        ("summary", {"macro_recall": None}, "has no macro_recall"),
        ("per_class", {"recall": [0.5, math.nan, 0.5]}, "NaN is no JSON"),
        ("per_class", {"recall": [0.5]}, "recall has not a value for each class"),
    ],
)
def test_metrics_that_are_no_finite_numbers_are_refused(lab, part, values, said):
    path = lab.classifier("real", 0, recall=HALF, counts=COUNTS)
    edit_metrics(path, **{part: values})
    with pytest.raises(CorruptError, match=said):
        collect([lab.root])


def test_a_class_without_test_images_has_no_recall_and_a_note(lab):
    for arm, added in (("real", None), ("syn", [0, 1, 2])):
        path = lab.classifier(arm, 0, recall=[0.9, 0.5, 0.0], counts=COUNTS, synthetic_counts=added)
        edit_metrics(path, per_class={"support": [50, 50, 0]})
    made = build_report([lab.root], out=lab.root / "report", load_train=None)
    assert made.classes.measures["recall"] == {"real": (0.9, 0.5, None), "syn": (0.9, 0.5, None)}
    assert [change.n for change in made.classes.changes["recall"]["syn"]] == [1, 1, 0]
    assert made.notes["classes"] == ("No test image shows class '2', so nothing is measured on it.",)


def test_classes_are_lined_up_by_rank_where_the_tail_moves(lab):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.1], counts=[100, 10, 1])
    lab.classifier("real", 1, recall=[0.2, 0.8, 0.6], counts=[1, 100, 10])
    table = class_table(collect([lab.root]))
    assert (table.by, table.labels, table.counts) == ("rank", ("1", "2", "3"), (100, 10, 1))
    assert table.measures["recall"]["real"] == pytest.approx((0.85, 0.55, 0.15))
    assert table.groups == ("many", "medium", "few")


def test_classes_keep_their_names_where_the_tail_stays(small_experiment):
    table = class_table(collect([small_experiment()]))
    assert (table.by, table.labels, table.counts) == ("class", ("a", "b", "c"), (3, 2, 1))
    assert table.synthetic_counts == {"cbdm": (0, 1, 2)}
    for measure in ("recall", "precision"):  # which are equal in these runs
        assert [c.mean for c in table.changes[measure]["cbdm"]] == pytest.approx([-0.05 / 3, 0.2, 0.4 + 0.05 / 3])


def test_the_confusion_change_is_the_mean_difference_of_row_shares(lab):
    for seed in (0, 1):
        lab.classifier("real", seed, recall=HALF, counts=COUNTS)
        lab.classifier("syn", seed, recall=[0.5, 0.5, 0.7 + 0.2 * seed], counts=COUNTS, synthetic_counts=[0, 1, 2])
    found = confusion_change(collect([lab.root]), "syn", "real")
    assert np.array(found.matrix) == pytest.approx(np.array([[0, 0, 0], [0, 0, 0], [-0.3, 0, 0.3]]))


def test_settings_and_selection_come_from_the_whole_chain(small_experiment):
    found = collect([small_experiment()])
    runs = {arm: list(by_seed.values()) for arm, by_seed in found.results.items()}
    assert [record.stage for record in runs["cbdm"][0].records] == ["fit-generator", "synthesize", "train-classifier"]
    split = settings(runs)
    assert split.differing == {"train-classifier: loss": {"cbdm": "ce", "logit-adjusted": "logit-adjusted", "real": "ce"}}
    assert split.shared["fit-generator: steps"] == 1000
    (row,) = selections(runs)
    assert (row.seeds, row.wanted, row.candidates, row.kept, row.rejected["disagree"], row.shortfall) == (3, 9, 18, 9, 9, 0)


def test_a_fine_tuned_generator_says_after_how_many_steps(lab, tiny_real):
    counts = [3, 2, 1]
    lab.classifier("real", 0, recall=HALF, counts=counts, train=tiny_real.digest)
    first = lab.generator("ddpm", 0, {"objective": "ddpm", "steps": 1000})
    second = lab.generator("longer", 0, {"objective": "ddpm", "steps": 1000}, source=first)
    for arm, source in (("cbdm", None), ("cbdm-tuned", second)):
        synthesis = lab.synthesis(arm, 0, tiny_real, {"c": 2}, source=source)
        kwargs = {"train": tiny_real.digest, "synthetic_counts": [0, 0, 2], "synthesis": synthesis}
        lab.classifier(arm, 0, recall=HALF, counts=counts, **kwargs)
    found = collect([lab.root])
    runs = {arm: list(by_seed.values()) for arm, by_seed in found.results.items()}
    differing = settings(runs).differing
    assert differing["fit-generator: steps of the generator it starts from"] == {"cbdm": 0, "cbdm-tuned": 1000}


def test_rivals_differ_in_generator_and_sampling_but_not_in_what_is_kept(lab, tiny_real):
    ways = {
        "ddpm": ("d" * 64, {"guidance": 0.8}),
        "cbdm": ("c" * 64, {"guidance": 1.6}),
        "cbdm-unguided": ("c" * 64, {"guidance": 0.0}),
        "ddpm-selected": ("d" * 64, {"guidance": 0.8, "select_agreement": True}),
        "cbdm-selected": ("c" * 64, {"guidance": 0.8, "select_agreement": True}),
        "cbdm-far": ("c" * 64, {"guidance": 0.8, "select_distance": True}),
    }
    named = {"names": "abc", "counts": COUNTS, "train": tiny_real.digest}
    lab.classifier("real", 0, recall=HALF, **named)
    for arm, (weights, options) in ways.items():
        made = lab.synthesis(arm, 0, tiny_real, {"b": 1}, weights=weights, options=options)
        lab.classifier(arm, 0, recall=HALF, synthetic_counts=[0, 1, 0], synthesis=made, **named)
    groups = {frozenset(group.arms): group.sampled_alike for group in score(collect([lab.root])).rivals}
    assert groups == {
        frozenset({"ddpm", "cbdm", "cbdm-unguided"}): False,
        frozenset({"ddpm-selected", "cbdm-selected"}): True,
    }
