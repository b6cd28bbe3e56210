"""The first screen: its parts say the same everywhere, no part crashes where its data is missing, and it reads in the dark."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from judging import GATES, judged

from ltaug.cli import show
from ltaug.data.imageset import ImageSet
from ltaug.records import SynthesisRecord
from ltaug.report import build, build_report, figures
from ltaug.report.arms import Scores
from ltaug.report.cost import Cost
from ltaug.report.decision import Comparison, Standing
from ltaug.report.gains import gains, worth
from ltaug.report.gallery import gallery
from ltaug.report.gates import Gate
from ltaug.report.wording import cost_text, interval_text, paired_text, plain, signed

ARMS = ("real", "oversampling", "resampled", "logit-adjusted", *(f"cbdm-{i}" for i in range(10)))


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports built in this test have a verdict, checks and costs, whatever the rules that make them say."""
    monkeypatch.setattr(build, "verdict", judged)
    monkeypatch.setattr(build, "gates", lambda experiment: GATES)
    monkeypatch.setattr(
        build, "costs", lambda experiment: {arm: Cost(2.0 + 3 * i, "processor", {}) for i, arm in enumerate(experiment.results)}
    )
    monkeypatch.setattr(build, "seed_cost", lambda experiment, evaluations: Cost(84.5, "processor", {}))


@pytest.fixture
def report(everything, small_experiment, tiny_real, tmp_path):
    return build_report([small_experiment()], out=tmp_path / "report", load_train=lambda options, seed: tiny_real)


@pytest.fixture
def fourteen(everything, lab):
    """Fourteen arms of eight classes over two seeds, the synthetic ones from worst to best."""
    for seed in range(2):
        for i, arm in enumerate(ARMS):
            recall = np.linspace(0.9, 0.2, 8) + 0.01 * i * np.linspace(0, 1, 8) * (1 + 0.1 * seed)
            made = [0, 0, 0, 0, 10, 20, 30, 40]
            added = {"synthetic_counts": made} if arm.startswith("cbdm") else {}
            added |= {"resampled_counts": made} if arm == "resampled" else {}
            lab.classifier(arm, seed, recall=recall.tolist(), counts=[90, 70, 50, 40, 30, 20, 10, 5], **added)
    return lab.root


def texts(report):
    return [(report.path / name).read_text() for name in ("report.html", "report.md")]


def unescaped(page):
    return page.replace("&#39;", "'").replace("&lt;", "<").replace("&amp;", "&")


def test_page_markdown_and_json_give_the_same_gains(report):
    values = json.loads((report.path / "report.json").read_text())
    assert set(values["gains"]) == {"overall", "many", "medium", "few"}
    for by_measure in values["gains"].values():
        assert set(by_measure) == {"recall", "precision"}
        for found in by_measure.values():
            assert found["after"] - found["before"] == pytest.approx(found["change"]["mean"])
    for group, by_measure in report.gains.items():
        for measure, found in by_measure.items():
            assert values["gains"][group][measure]["change"]["mean"] == found.change.mean
            for text in texts(report):
                assert f"{plain(found.before)} → {plain(found.after)}" in text
                assert signed(found.change.mean) in text
                assert found.change.low is None or interval_text(found.change) in text


def test_page_markdown_and_json_give_the_same_costs(report):
    values = json.loads((report.path / "report.json").read_text())
    assert values["seed_cost"]["minutes"] == 84.5
    for name, own in report.worth.items():
        assert values["worth"][name] == dataclasses.asdict(own)
        assert values["costs"][name]["minutes"] == report.costs[name].minutes
        for text in texts(report):
            assert cost_text(report.costs[name]) in text
            assert own.per_hour is None or signed(own.per_hour, 2) in text
    assert all("One more seed of every arm costs 84.5\u00a0processor\u00a0min." in text for text in texts(report))


def test_recommendation_headline_and_every_check_are_in_all_three_files(report):
    values = json.loads((report.path / "report.json").read_text())
    assert [gate["text"] for gate in values["gates"]] == [gate.text for gate in report.gates]
    for text in map(unescaped, texts(report)):
        assert text.index(report.verdict.recommendation.text) < text.index(report.verdict.headline)
        assert all(gate.text in text for gate in report.gates)


def test_no_figure_is_without_its_numbers(report):
    values = json.loads((report.path / "report.json").read_text())
    page, markdown = texts(report)
    numbers = {
        "standing": values["verdict"]["decision"]["standing"]["against"],
        "counts": values["classes"]["counts"],
        "recall": values["classes"]["changes"]["recall"][report.compared],
        "precision": values["classes"]["changes"]["precision"][report.compared],
        "confusion": values["confusion"]["matrix"],
    }
    assert set(report.figures) == set(numbers)
    assert all(numbers.values())
    for found in report.verdict.standing.against.values():
        assert signed(found.mean) in page
        assert interval_text(found) in page
        assert f"{paired_text(found)} |" in markdown
    for measure in ("recall", "precision"):
        for change in report.classes.changes[measure][report.compared]:
            assert signed(change.mean) in page
            assert interval_text(change) in page
            assert paired_text(change) in markdown


def test_the_terminal_says_it_in_twelve_lines_whatever_was_found(fourteen, tmp_path, capsys, monkeypatch):
    kinds = ("leak", "copies", "duplicates", "origin")
    monkeypatch.setattr(build, "gates", lambda experiment: tuple(Gate(kind, "warn", f"{kind}: look.", ()) for kind in kinds))
    show.report(build_report([fourteen], out=tmp_path / "report", load_train=None), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[:2] == ["Use cbdm-9.", "Synthetic images helped."]
    assert lines[2:6] == [f"warn: {kind}: look." for kind in kinds]
    assert lines[-1] == f"The report: {tmp_path / 'report' / 'report.html'}"


def test_nothing_is_said_twice(lab, tmp_path, capsys, monkeypatch):
    copied = Gate("copies", "warn", "Images copy.", ("made",))
    monkeypatch.setattr(build, "gates", lambda experiment: (copied,))
    for seed in range(3):
        for arm, counts in (("real", None), ("made", [0, 0, 2])):
            recall = [0.5 + 0.01 * seed * (arm == "made")] * 3
            lab.classifier(arm, seed, recall=recall, counts=[3, 2, 1], synthetic_counts=counts)
    report = build_report([lab.root], out=tmp_path / "report", load_train=None)
    assert report.verdict.headline.endswith(copied.text)
    show.report(report, as_json=False)
    assert capsys.readouterr().out.count(copied.text) == 1
    nothing = build_report([lab.root / "made"], out=tmp_path / "nothing", load_train=None)
    assert nothing.verdict.headline == nothing.verdict.recommendation.text
    show.report(nothing, as_json=False)
    for text in (capsys.readouterr().out, *((nothing.path / f"report.{kind}").read_text() for kind in ("html", "md"))):
        assert text.count(nothing.verdict.headline) == 1
    assert [arm.kind for arm in nothing.arms] == ["with synthesis"], "the baseline, of all there is"


def test_the_terminal_shows_the_arms_that_the_verdict_turns_on(fourteen, tmp_path, capsys):
    made = build_report([fourteen], out=tmp_path / "report", load_train=None)
    show.report(made, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "checks: no leaks, no copies, no duplicates, origin known"
    heading, rows = lines[3], lines[4:-1]
    assert heading.split("  ")[0] == "arm"
    names = ["real (baseline)", "logit-adjusted (best without synthesis)", "resampled (control)", "cbdm-9 (best with)"]
    assert [row.split("  ")[0] for row in rows] == names
    best = next(arm for arm in made.arms if arm.name == "cbdm-9")
    few, recall = best.summary["recall/few"].mean, best.summary["macro_recall"].mean
    assert re.split(r"\s{2,}", rows[-1].strip())[1:3] == [plain(recall), plain(recall)]  # precision is as recall in these runs
    assert f" {plain(few)} " in rows[-1]
    assert f" {signed(best.against_baseline['macro_recall'].mean)} " in rows[-1]
    assert "29.0\u00a0processor\u00a0min" in rows[-1]


def test_the_control_shown_is_the_one_trained_as_the_best_arm_with_synthetic_images(everything, lab, tmp_path):
    arms = {"real": 0.5, "resampled": 0.7, "resampled-b": 0.6, "b": 0.8}
    for arm, value in arms.items():
        options = {"loss": "logit-adjusted"} if arm.endswith("b") else {"loss": "ce"}
        added = {"synthetic_counts": [0, 1, 2]} if arm == "b" else {}
        added |= {"resampled_counts": [0, 1, 2]} if arm.startswith("resampled") else {}
        lab.classifier(arm, 0, recall=[value] * 3, counts=[3, 2, 1], options=options, **added)
    assert build_report([lab.root], out=tmp_path / "report", load_train=None).shown["control"] == "resampled-b"
    lab.classifier("c", 0, recall=[0.9] * 3, counts=[3, 2, 1], synthetic_counts=[0, 1, 2], options={"augment": "shift-rotate"})
    assert build_report([lab.root], out=tmp_path / "report", load_train=None).shown["control"] == "resampled-b"


def test_json_on_the_terminal_is_the_whole_report(report, capsys):
    show.report(report, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown.pop("report") == str(report.path / "report.html")
    assert shown == json.loads((report.path / "report.json").read_text())


def test_every_colour_of_the_figures_has_its_counterpart_in_the_dark(report):
    page = (report.path / "report.html").read_text()
    used = set(re.findall(r"var\((--c-[0-9a-f]{6}), #", page))
    ramp = "fefefe"  # text on a strongly coloured cell, which has the same colour on any page
    assert len(used) > 5
    assert used - set(re.findall(r"(--c-[0-9a-f]{6}):", page)) <= {f"--c-{ramp}"}


def one_seed(lab):
    for arm, made in (("real", None), ("cheap", None), ("syn", [0, 1, 2])):
        lab.classifier(arm, 0, recall=[0.9, 0.5, 0.2 + 0.1 * (made is not None)], counts=[3, 2, 1], synthetic_counts=made)


def no_synthetic(lab):
    for seed in range(3):
        lab.classifier("real", seed, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])
        lab.classifier("cheap", seed, recall=[0.9, 0.5, 0.2 + 0.1 * seed], counts=[3, 2, 1])


def baseline_alone(lab):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])


def no_seed_in_common(lab):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])
    lab.classifier("syn", 1, recall=[0.9, 0.5, 0.3], counts=[3, 2, 1], synthetic_counts=[0, 1, 2])


@pytest.mark.parametrize(
    ("runs", "sentences"),
    [
        (one_seed, ["one seed: no interval can be given", "Without an interval: all of them.", "no images are shown"]),
        (no_synthetic, ["No arm has synthetic images, so there are none to show."]),
        (baseline_alone, ["No arm is there to be compared with real.", "There is no figure of the arms: there is no other."]),
        (no_seed_in_common, ["Without a seed in common with real: syn."]),
    ],
)
def test_a_part_that_is_missing_gives_a_sentence(everything, lab, tmp_path, capsys, runs, sentences):
    runs(lab)
    report = build_report([lab.root], out=tmp_path / "report", load_train=None)
    show.report(report, as_json=False)
    page, markdown = texts(report)
    for sentence in sentences:
        assert sentence in page
        assert sentence in markdown


def test_unknown_costs_unmade_checks_and_no_standing_are_said(everything, small_experiment, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "verdict", lambda scores, *_, **__: dataclasses.replace(judged(scores), decision=None))
    monkeypatch.setattr(build, "gates", lambda experiment: ())
    monkeypatch.setattr(build, "costs", lambda experiment: dict.fromkeys(experiment.results))
    monkeypatch.setattr(build, "seed_cost", lambda experiment, evaluations: None)
    report = build_report([small_experiment()], out=tmp_path / "report", load_train=None)
    show.report(report, as_json=False)
    assert "checks: The synthetic images were not checked." in capsys.readouterr().out
    for text in texts(report):
        assert "What the arms cost is not known." in text
        assert "The synthetic images were not checked." in text
        assert "There is no figure of the arms" in text
        assert "One more seed" not in text
    assert "standing" not in report.figures


def test_one_unknown_cost_is_named_and_the_others_are_shown(everything, small_experiment, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "costs", lambda e: {a: None if a == "cbdm" else Cost(6.0, "processor", {}) for a in e.results})
    report = build_report([small_experiment()], out=tmp_path / "report", load_train=None)
    for text in texts(report):
        assert "What cbdm costs is not known." in text
        assert "6.0\u00a0processor\u00a0min" in text


def test_gains_are_taken_over_the_seeds_that_both_arms_have():
    values = {"real": {"macro_recall": {0: 0.5, 1: 0.6, 2: 0.1}}, "syn": {"macro_recall": {0: 0.7, 1: 0.7, 5: 0.0}}}
    found = gains(Scores(values, frozenset({"syn"}), {"syn": "real"}, "real"), "syn")
    assert list(found) == ["overall"]
    assert list(found["overall"]) == ["recall"]
    gain = found["overall"]["recall"]
    assert (gain.before, gain.after, gain.change.mean) == pytest.approx((0.55, 0.7, 0.15))


def test_what_a_cost_buys_is_counted_by_the_hour_and_against_the_cheapest_of_its_kind():
    means = {"real": 0.5, "cheap": 0.6, "syn": 0.8, "other": 0.4}
    scores = Scores({arm: {"macro_recall": {0: mean}} for arm, mean in means.items()}, frozenset({"syn"}), {}, "real")
    costs = {"real": Cost(2, "processor", {}), "cheap": Cost(4, "processor", {}), "syn": Cost(30, "GPU", {}), "other": None}
    found = worth(scores, costs)
    assert {arm: own.times for arm, own in found.items()} == {"real": 1, "cheap": 2, "syn": 1, "other": None}
    assert found["real"].gain is None
    assert found["cheap"].per_hour == pytest.approx(1.5)
    assert found["syn"].per_hour == pytest.approx(0.6)
    assert (found["other"].gain, found["other"].per_hour) == (pytest.approx(-0.1), None)
    assert worth(scores, {"real": Cost(0, "processor", {})})["real"].times is None


def test_the_arms_stand_by_kind_and_then_from_best_to_worst():
    def against(arm, mean, outcome):
        low, high = (None, None) if mean is None else (mean - 0.01, mean + 0.01)
        return Comparison(arm, "cheap", "macro_recall", mean, 3, low, high, outcome, None, None)

    kinds = {"syn": "with synthesis", "syn-best": "with synthesis", "resampled": "control", "cheap": "without synthesis"}
    kinds |= {"real": "baseline", "apart": "with synthesis"}
    means = {"syn": 0.01, "syn-best": 0.03, "resampled": -0.02, "real": -0.1, "apart": None}
    standing = Standing("macro_recall", "cheap", {arm: against(arm, mean, "undecided") for arm, mean in means.items()})
    svg = figures.standing_of(standing, kinds, name="s", alt="arms")
    drawn = re.findall(r"<!-- ([\w-]+)(?: \(reference\))? -->", svg)
    rows = [name for name in drawn if name in kinds]
    assert rows == ["real", "cheap", "resampled", "syn-best", "syn"]
    assert svg == figures.standing_of(standing, kinds, name="s", alt="arms")


def test_the_three_rarest_classes_are_shown_however_many_there_are(lab, tiny_real):
    counts = [60 - i for i in range(50)]
    labels = np.repeat(np.arange(50), counts)
    images = np.zeros((len(labels), 1, 8, 8), np.uint8)
    real = ImageSet(images, labels, tuple(f"c{i:02d}" for i in range(50)), "digits")
    made = lab.synthesis("cbdm", 0, real, {"c49": 2})
    shown = gallery(SynthesisRecord.read(made), real, arm="cbdm", seed=0)
    names = [row.class_name for row in shown.rows]
    assert (len(names), len(set(names)), shown.left_out) == (24, 24, 26)
    assert (names[0], names[-3:]) == ("c00", ["c47", "c48", "c49"])


def test_nothing_of_the_machine_is_on_the_page(report, tmp_path):
    assert all(str(Path(tmp_path)) not in text for text in texts(report))
