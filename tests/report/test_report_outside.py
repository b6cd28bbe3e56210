"""Experiments with outside weights: what is compared, what is said of them, and what stays as it was without them."""

import pytest

from ltaug.errors import MismatchError
from ltaug.report.arms import score
from ltaug.report.build import build_report
from ltaug.report.collect import collect

NET = {"role": "classifier", "name": "net.in1k", "files": {"net.safetensors": "a" * 64}, "licence": "mit", "trained_on": "IN-1k"}
OTHER = NET | {"name": "net.in12k", "files": {"net.safetensors": "b" * 64}}
DIT = {"role": "generator", "name": "dit", "files": {"dit.safetensors": "c" * 64}}
COUNTS = [30, 20, 10]
MADE = {"synthetic_counts": [0, 10, 20]}
SEEDS = 5


@pytest.fixture
def run(lab):
    """Write an arm at every seed."""

    def write(arm, recall, outside=(), **how):
        for seed in range(SEEDS):
            by_class = [recall + 0.002 * ((seed * 7 + len(arm)) % 5)] * 3
            lab.classifier(arm, seed, recall=by_class, counts=COUNTS, outside=outside, **how)

    return write


def report(lab, tmp_path, name="report", **how):
    return build_report([lab.root], out=tmp_path / name, load_train=None, **how)


def test_an_arm_from_published_weights_is_no_gain_over_one_without_them(lab, run, tmp_path):
    run("real", 0.5)
    run("syn", 0.8, [NET], **MADE)
    assert score(collect([lab.root])).partners == {}
    found = report(lab, tmp_path)
    assert (found.verdict.outcome, found.verdict.recommendation.action) == ("none", "none")
    assert found.verdict.headline.startswith("syn starts from other weights than real, so what synthetic images gain")
    assert found.verdict.headline.endswith("Outside data: net.in1k.")
    assert found.worth["syn"].gain is None
    assert found.arms[1].against_baseline == {}
    page = (tmp_path / "report" / "report.md").read_text()
    assert page.count("Not compared: syn. A difference of theirs from real may be one of the weights") == 1


def test_weights_of_other_content_are_other_weights_whatever_they_are_called(lab, run):
    run("real", 0.5, [NET])
    run("syn", 0.8, [NET | {"name": "renamed"}], **MADE)
    run("other", 0.8, [NET | {"files": OTHER["files"]}], **MADE)
    scores = score(collect([lab.root]))
    assert scores.partners == {"syn": "real"}
    assert set(scores.comparable.values) == {"real", "syn"}


def test_the_baseline_starts_from_what_arms_with_synthetic_images_start_from(lab, run, tmp_path):
    run("real", 0.5)
    run("tuned", 0.8, [NET])
    run("tuned-syn", 0.9, [NET], **MADE)
    found = report(lab, tmp_path)
    assert found.shown["baseline"] == "tuned"
    assert found.verdict.outcome == "helped"
    assert "tuned-syn gains +0.100" in found.verdict.headline
    assert set(found.verdict.standing.against) == {"tuned-syn"}
    assert (found.worth["tuned-syn"].gain, found.worth["real"].gain) == (pytest.approx(0.1, abs=0.01), None)
    asked = report(lab, tmp_path, "asked", baseline="real")
    assert asked.verdict.outcome == "none"


def test_arms_from_other_weights_change_nothing_in_the_verdict_on_those_that_start_alike(lab, run, tmp_path):
    run("real", 0.5)
    run("syn", 0.6, **MADE)
    run("resampled", 0.52, resampled_counts=[0, 10, 20])
    alone = report(lab, tmp_path, "alone").verdict
    run("tuned", 0.9, [NET])
    run("tuned-syn", 0.9, [NET], **MADE)
    run("other", 0.95, [OTHER])
    found = report(lab, tmp_path).verdict
    assert found.decision == alone.decision
    assert found.headline == alone.headline
    assert found.recommendation.text == f"{alone.recommendation.text} Outside data: net.in12k, net.in1k."


def test_the_check_names_weights_arms_licences_and_says_once_what_they_may_have_seen(lab, run, tmp_path):
    run("real", 0.5)
    run("tuned", 0.6, [NET])
    run("syn", 0.6, [DIT, NET | {"role": "judge"}], **MADE)
    (gate,) = (gate for gate in report(lab, tmp_path).gates if gate.kind == "outside")
    assert gate.text == (
        "Outside data: dit (licence: not stated), as generator of syn; "
        "net.in1k (trained on IN-1k, licence: mit), as judge of syn and as classifier of tuned. "
        "Test images may be among the images that these weights were trained on."
    )
    assert gate.arms == ("syn", "tuned")
    page = (tmp_path / "report" / "report.md").read_text()
    assert page.count("Test images may be among") == 1


@pytest.mark.parametrize("brought", [[DIT], [NET | {"role": "judge"}], [NET, DIT]])
def test_it_is_said_that_the_pretrained_classifier_alone_was_not_run(lab, run, tmp_path, brought):
    run("real", 0.5)
    run("syn", 0.6, brought, **MADE)
    text = report(lab, tmp_path).gates[-1].text
    said = "A classifier that starts from published weights was not run on real images alone; it may do as well as syn."
    assert text.endswith(said)
    run("tuned", 0.6, [NET])
    assert said not in report(lab, tmp_path).gates[-1].text


def test_where_only_classifiers_start_from_outside_weights_nothing_was_left_out(lab, run, tmp_path):
    run("tuned-syn", 0.5, [NET], **MADE)
    assert "was not run" not in report(lab, tmp_path).gates[-1].text


def test_without_outside_weights_nothing_is_said_of_any(lab, run, tmp_path):
    run("real", 0.5)
    run("syn", 0.6, **MADE)
    found = report(lab, tmp_path)
    assert "outside" not in {gate.kind for gate in found.gates}
    assert "utside" not in (tmp_path / "report" / "report.md").read_text()


def test_an_arm_whose_seeds_start_from_other_weights_is_refused(lab):
    for seed, weights in enumerate((NET, OTHER)):
        lab.classifier("real", seed, recall=[0.5] * 3, counts=COUNTS, outside=[weights])
    with pytest.raises(MismatchError, match=r"different settings at seeds 0 and 1 \(train-classifier\.pretrained"):
        collect([lab.root])
