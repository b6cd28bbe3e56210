"""Evaluations of generators in the report: which arm they belong to, what may share a table, what is missing and why."""

import json
import re

import pytest
from test_report_page import Page

from ltaug.cli import show
from ltaug.errors import CorruptError, MismatchError
from ltaug.report import build_report
from ltaug.report.collect import collect
from ltaug.report.evaluations import collect_evaluations, users
from ltaug.report.generators import generator_tables

WEIGHTS = {"ddpm": "d", "cbdm": "c"}
GOOD = {"fid": 6.0, "kid": 0.004, "recall": 0.6, "coverage": 0.7, "memorised_1": 0.01, "fid/few": 12.0}


def weights(name, seed):
    return f"{WEIGHTS[name]}{seed}".ljust(64, "0")


@pytest.fixture
def experiment(lab, tiny_real):
    """ddpm and cbdm over three seeds, a second arm on cbdm's images, and evaluations: cbdm's FID is 1, 2 and 3 lower."""
    names = {"names": "abc", "counts": [3, 2, 1], "train": tiny_real.digest}
    for seed in range(3):
        lab.classifier("real", seed, recall=[0.9, 0.6, 0.3], **names)
        for arm in ("ddpm", "cbdm"):
            made = lab.synthesis(arm, seed, tiny_real, {"b": 1, "c": 2}, weights=weights(arm, seed))
            lab.classifier(arm, seed, recall=[0.9, 0.7, 0.5], synthetic_counts=[0, 1, 2], synthesis=made, **names)
            if arm == "cbdm":
                lab.classifier("cbdm-more", seed, recall=[0.9, 0.7, 0.6], synthetic_counts=[0, 1, 2], synthesis=made, **names)
        lab.evaluation("ddpm", seed, {**GOOD, "fid": 9.0 + seed}, weights=weights("ddpm", seed))
        lab.evaluation("cbdm", seed, {**GOOD, "fid": 8.0}, weights=weights("cbdm", seed))
    return lab


def tables(lab):
    found = collect([lab.root])
    return generator_tables(collect_evaluations([lab.root])[0], found, order=list(found.results), featured="cbdm-more")


def test_an_evaluation_belongs_to_every_arm_that_uses_its_generator(experiment):
    (table,) = tables(experiment)
    assert {row.name: row.seeds for row in table.rows} == {"cbdm, cbdm-more": (0, 1, 2), "ddpm": (0, 1, 2)}
    assert users(collect([experiment.root]))[weights("cbdm", 1)] == ("cbdm", "cbdm-more")


def test_arms_that_share_a_generator_stand_together_at_seeds_where_one_was_not_run(experiment):
    (experiment.root / "cbdm-more" / "seed-2" / "classifier" / "run.json").unlink()
    assert [row.name for row in tables(experiment)[0].rows] == ["cbdm, cbdm-more", "ddpm"]


def test_differences_are_paired_by_seed_against_ddpm(experiment):
    (table,) = tables(experiment)
    row = next(row for row in table.rows if "cbdm" in row.arms)
    assert table.compared_with == "ddpm"
    assert (row.summary["fid"].mean, row.summary["fid"].sd) == (8.0, 0.0)
    assert (row.against["fid"].mean, row.against["fid"].n) == (-2.0, 3)
    assert row.against["fid"].outcome == "tie"
    assert next(row for row in table.rows if row.name == "ddpm").against == {}


@pytest.mark.parametrize(
    "other",
    [
        {"extractor": "pixels"},
        {"reference": "test"},
        {"samples": 100},
        {"options": {"neighbours": 3}},
        {"extractor_digest": "f" * 64},
        {"reference_digest": "f" * 64},
    ],
)
def test_what_was_measured_on_other_terms_has_a_table_of_its_own(experiment, other):
    experiment.evaluation("again", 0, {**GOOD, "fid": 0.5}, weights=weights("cbdm", 0), **other)
    first, second = tables(experiment)
    assert [row.summary["fid"].mean for row in second.rows] == [0.5]
    assert [row.summary["fid"].mean for row in first.rows] == [8.0, 10.0]
    assert any("cannot be compared" in note for note in second.notes) == any(key.endswith("_digest") for key in other)


def test_seeds_whose_reference_is_their_own_draw_stand_in_one_table(lab, tiny_real):
    lab.classifier("real", 0, recall=[0.9, 0.6, 0.3], counts=[3, 2, 1], names="abc", train=tiny_real.digest)
    for seed in range(3):
        for name in ("ddpm", "cbdm"):
            draw = {"reference": "train", "reference_digest": f"{seed}" * 64, "reference_images": 6 + seed}
            lab.evaluation(name, seed, GOOD, weights=weights(name, seed), **draw)
    (table,) = tables(lab)
    assert [row.seeds for row in table.rows] == [(0, 1, 2), (0, 1, 2)]
    assert table.references == {seed: f"{seed}" * 64 for seed in range(3)}
    assert "against 6 to 8 of the training images" in table.about


def test_another_guidance_is_another_row_that_says_so(experiment):
    for seed in range(3):
        experiment.evaluation(f"guided-{seed}", seed, {**GOOD, "fid": 5.0}, weights=weights("cbdm", seed), guidance=1.5)
    (table,) = tables(experiment)
    names = [row.name for row in table.rows]
    assert names == ["cbdm, cbdm-more (guidance 0)", "cbdm, cbdm-more (guidance 1.5)", "ddpm (guidance 0)"]
    assert table.compared_with == "ddpm (guidance 0)"
    assert "guidance" not in table.sampling


def test_guidance_in_an_interval_is_told_apart_from_guidance_everywhere(experiment):
    (table,) = tables(experiment)
    assert "interval" not in table.about  # these were guided everywhere, which goes without saying
    for seed in range(3):
        limited = {"guidance_interval": [0.2, 0.7]}
        experiment.evaluation(f"limited-{seed}", seed, {**GOOD, "fid": 5.0}, weights=weights("cbdm", seed), **limited)
    (table,) = tables(experiment)
    assert [row.name for row in table.rows] == [
        "cbdm, cbdm-more (guidance interval 0, 1)",
        "cbdm, cbdm-more (guidance interval 0.2, 0.7)",
        "ddpm (guidance interval 0, 1)",
    ]


def test_one_generator_evaluated_twice_on_the_same_terms_is_refused(experiment):
    experiment.evaluation("again", 0, GOOD, weights=weights("cbdm", 0))
    with pytest.raises(MismatchError, match="evaluate the same generator at seed 0"):
        tables(experiment)


def test_an_evaluation_of_a_generator_that_no_arm_uses_goes_by_its_own_name(experiment):
    experiment.evaluation("edm", 0, GOOD, weights="x" * 64)
    (table,) = tables(experiment)
    assert [row.name for row in table.rows] == ["cbdm, cbdm-more", "ddpm", "edm"]
    assert "edm was not evaluated at 2 seeds (1 and 2)." in table.notes


def test_what_could_not_be_measured_is_a_dash_with_its_reason_and_null_in_json(experiment, tmp_path):
    lacking = {**GOOD, "coverage": None}
    reasons = {"coverage": "only 3 <reference> images, more than k = 5 are needed"}
    experiment.evaluation("edm", 0, lacking, weights="x" * 64, reasons=reasons, warnings=["Few & small."])
    report = build_report([experiment.root], out=tmp_path / "report", load_train=None)
    page, markdown = ((tmp_path / "report" / name).read_text() for name in ("report.html", "report.md"))
    said = "Not measured of edm: coverage. Reason: only 3 <reference> images, more than k = 5 are needed."
    assert all(said.replace("<", "&lt;").replace(">", "&gt;") in written for written in (page, markdown))
    assert "edm: Few &amp; small." in page
    line = next(line for line in markdown.splitlines() if line.startswith("| edm |"))
    assert line.split("|")[6].strip() == "–"
    values = json.loads((tmp_path / "report" / "report.json").read_text(), parse_constant=pytest.fail)
    (table,) = values["generators"]
    row = next(row for row in table["rows"] if row["name"] == "edm")
    assert "coverage" not in row["summary"]
    assert row["missing"]["coverage"] == reasons["coverage"]
    assert report.generators[0].closest.picture not in (tmp_path / "report" / "report.json").read_text()


def test_values_missing_at_one_seed_say_which(experiment):
    experiment.evaluation("edm", 0, {**GOOD, "kid": None}, weights="x" * 64, reasons={"kid": "too few"})
    experiment.evaluation("edm", 1, GOOD, weights="y" * 64)
    (table,) = tables(experiment)
    row = table.rows[-1]
    assert (row.name, row.seeds, row.summary["kid"].n, row.missing) == ("edm", (0, 1), 1, {})
    assert "Not measured at seed 0 of edm: KID. Reason: too few." in table.notes


def test_the_page_shows_tables_figure_and_closest_pairs(experiment, tmp_path):
    report = build_report([experiment.root], out=tmp_path / "report", load_train=None)
    text = (tmp_path / "report" / "report.html").read_text()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.silent == []
    assert "Classifier features against the balanced set" in text
    assert "Closest pairs of cbdm, cbdm-more, seed 0" in text
    assert report.generators[0].closest.picture in text
    assert "class-fid-0" in report.figures
    markdown = (tmp_path / "report" / "report.md").read_text()
    for table in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "−2.00 [−4.48,\u00a0+0.48]" in markdown


def test_class_fid_is_lined_up_by_frequency_and_smoothed_over_what_there_is(lab, tiny_real):
    lab.classifier("real", 0, recall=[0.9, 0.6, 0.3], counts=[3, 2, 1], names="abc", train=tiny_real.digest)
    for name, seed, counts, fid in (
        ("x", 0, (1, 3, 2), (9.0, 1.0, 5.0)),
        ("x", 1, (3, 2, 1), (1.0, None, 9.0)),
    ):
        lab.evaluation(name, seed, GOOD, weights=f"{name}{seed}".ljust(64, "0"), counts=counts, class_fid=fid)
    curve = tables(lab)[0].curve
    assert (curve.by, curve.labels) == ("rank", ("1", "2", "3"))
    assert curve.series == {"x": (5.0, 5.0, 5.0)}


def test_class_fid_far_apart_is_not_mixed(lab, tiny_real):
    lab.classifier("real", 0, recall=[0.9, 0.6, 0.3], counts=[3, 2, 1], names="abc", train=tiny_real.digest)
    fid = [0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 10.0]
    lab.evaluation("x", 0, GOOD, weights="x" * 64, counts=[8, 7, 6, 5, 4, 3, 2, 1], class_fid=fid)
    curve = tables(lab)[0].curve
    assert (curve.by, curve.labels[0]) == ("class", "a")
    assert curve.series["x"] == pytest.approx((0, 0, 2, 4, 6, 8, 10, 10))


def test_unfinished_evaluations_are_left_out_and_named(experiment, tmp_path):
    experiment.evaluation("edm", 0, GOOD, weights="x" * 64, finished=False)
    events = []
    report = build_report([experiment.root], out=tmp_path / "report", load_train=None, listener=events.append)
    assert events[0].text == "seed-0/edm/evaluation is not finished and is left out."
    assert any("seed-0/edm/evaluation" in note for note in report.notes["reading"])


def test_changed_evaluations_are_refused(experiment):
    path = experiment.root / "ddpm" / "seed-0" / "evaluation" / "metrics.json"
    path.write_text(path.read_text().replace("9.0", "1.0"))
    with pytest.raises(CorruptError, match="SHA-256"):
        collect_evaluations([experiment.root])


def test_the_featured_generator_is_drawn_against_the_one_it_is_compared_with(experiment):
    found = collect([experiment.root])
    evaluations, _ = collect_evaluations([experiment.root])
    for featured, watched in (("cbdm", "cbdm, cbdm-more"), ("ddpm", "ddpm"), (None, "cbdm, cbdm-more")):
        (table,) = generator_tables(evaluations, found, order=list(found.results), featured=featured)
        assert table.closest.name == watched
        assert list(table.curve.series) == ["ddpm", "cbdm, cbdm-more"]


def test_the_terminal_shows_generators_below_the_arms(experiment, tmp_path, capsys):
    show.report(build_report([experiment.root], out=tmp_path / "report", load_train=None), as_json=False)
    shown = capsys.readouterr().out
    assert shown.index("macro recall") < shown.index("classifier features against the balanced set")
    (line,) = [line for line in shown.splitlines() if "cbdm, cbdm-more" in line and "8.00" in line]
    assert "12.00" in line


def test_without_evaluations_the_report_has_no_such_part(small_experiment, tmp_path):
    report = build_report([small_experiment()], out=tmp_path / "report", load_train=None)
    assert report.generators == ()
    assert "The generators themselves" not in (tmp_path / "report" / "report.html").read_text()
