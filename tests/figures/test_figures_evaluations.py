"""Figures from evaluations, on numbers that are known: sweeps over tau, per-class differences, and what is refused."""

import dataclasses
import math
from pathlib import Path

import pytest
from pictures import rows_of

from ltaug.errors import MismatchError, OptionError
from ltaug.figures.class_fid import draw_class_fid, names_of_sides, rank_differences
from ltaug.figures.inputs import Evaluation, title_of, told_apart
from ltaug.figures.sweep import Point, draw_guidance, draw_tau, levels_of, points_of
from ltaug.records import EvaluationRecord, GeneratorRecord

SETTINGS = {"objective": "cbdm", "tau": 1.0, "gamma": 0.25, "label_set": "train", "steps": 100}


def evaluation(
    path, *, seed=0, fid=5.0, class_fid=(1.0, 2.0, 3.0), counts=(30, 20, 5), settings=None, imbalance=10, **provenance
):
    told = {"dataset": "digits", "extractor": "classifier", "extractor_digest": "e" * 64, "reference": "balanced"}
    told |= {"reference_digest": "r" * 64, "reference_images": 100, "samples": 40, "sampler": "ddim", "sample_steps": 2}
    metrics = {
        "summary": {"fid": fid, "recall": 0.5, "fid/few": None},
        "class_names": ["a", "b", "c"],
        "class_counts": list(counts),
        "groups": {"many": [0], "medium": [1], "few": [2]},
        "per_class": {"class_fid": list(class_fid)},
        "provenance": told | {"guidance": 0.0, "seed": seed} | provenance,
    }
    settings = SETTINGS | (settings or {})
    made = record(options={"dataset": {"imbalance": imbalance}, "fit-generator": settings}, seed=seed)
    evaluated = record(options={"arm": settings["objective"]}, seed=seed)
    return Evaluation(EvaluationRecord.of(Path(path), evaluated), GeneratorRecord.of(Path("generator"), made), metrics)


def record(*, options, seed):
    """What read_run finds of a finished run."""
    inputs, nothing = {"train": {"digest": f"{seed}" * 64}}, ("facts", "timings", "versions", "device", "outputs")
    return {"seed": seed, "status": "finished", "options": options, "inputs": inputs} | {key: {} for key in nothing}


def test_a_level_is_mean_and_spread_over_seeds_and_leaves_out_what_could_not_be_measured():
    points = [Point(0.0, 0, {"fid": 4.0}), Point(0.0, 1, {"fid": 7.0}), Point(1.0, 0, {"fid": 2.0}), Point(1.0, 1, {"fid": None})]
    low, high = levels_of(points)
    assert (low.mean, low.missing) == (5.5, ())
    assert low.sd == pytest.approx(math.sqrt(4.5))
    assert (high.values, high.mean, high.sd, high.missing) == ({0: 2.0}, 2.0, None, (1,))


def test_a_tau_sweep_takes_an_objective_without_the_term_as_tau_zero():
    drawn = draw_tau(
        [
            evaluation("plain-0", fid=8.0, settings={"objective": "ddpm"}),
            evaluation("plain-1", fid=6.0, seed=1, settings={"objective": "ddpm"}),
            evaluation("three", fid=5.0, settings={"tau": 3.0}),
        ]
    )
    fids = [(r["tau"], r["mean"], r["sd"], r["seeds"]) for r in rows_of(drawn.files["figure.csv"]) if r["measure"] == "fid"]
    assert fids == [("0", "7", "1.41421", "2"), ("3", "5", "", "1")]
    points = [(r["tau"], r["seed"], r["value"]) for r in rows_of(drawn.files["points.csv"]) if r["measure"] == "fid"]
    assert points == [("0", "0", "8"), ("0", "1", "6"), ("3", "0", "5")]
    assert "of few-shot classes" in drawn.notes[0]
    assert draw_tau([evaluation("a"), evaluation("b", settings={"tau": 0.0})]).files["figure.svg"].startswith(b"<svg")


@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        ({}, OptionError, "at least two values of tau; these have 1"),
        ({"settings": {"tau": 2.0, "steps": 50}}, MismatchError, "steps: 100 in one, 50 in two"),
        ({"settings": {"tau": 2.0, "gamma": 0.5}}, MismatchError, "gamma: 0.25 in one, 0.5 in two"),
        ({"settings": {"tau": 2.0, "objective": "cbdm+coral"}}, MismatchError, 'objective: "ddpm" in one, "coral" in two'),
        ({"settings": {"tau": 2.0}, "imbalance": 100}, MismatchError, "dataset.imbalance: 10.0 in one"),
        ({"settings": {"tau": 2.0}, "extractor": "pixels"}, MismatchError, 'extractor: "classifier" in one, "pixels" in two'),
        ({"settings": {"tau": 2.0}, "reference_digest": "x" * 64}, MismatchError, "reference_digest: rrrrrrrrrrrr… in one"),
        ({"settings": {"tau": 2.0}, "guidance": 1.0}, MismatchError, "guidance: 0.0 in one, 1.0 in two"),
        ({"settings": {"tau": 2.0}, "samples": 80}, MismatchError, "samples: 40 in one, 80 in two"),
    ],
)
def test_a_tau_sweep_refuses_what_differs_in_more_than_tau_and_says_in_what(other, error, said):
    with pytest.raises(error, match=said):
        points_of([evaluation("one"), evaluation("two", **other)])


def test_options_of_the_term_do_not_matter_where_there_is_none_and_do_among_those_that_have_it():
    plain = evaluation("plain", settings={"objective": "ddpm", "gamma": 0.0})
    points_of([plain, evaluation("a"), evaluation("b", settings={"tau": 2.0})])
    with pytest.raises(MismatchError, match=r"gamma: 0\.25 in a, 0\.5 in b"):
        points_of([plain, evaluation("a"), evaluation("b", settings={"tau": 2.0, "gamma": 0.5})])


def test_one_tau_and_seed_twice_is_refused():
    with pytest.raises(MismatchError, match="a and c both evaluate tau 1 at seed 0"):
        points_of([evaluation("a"), evaluation("b", settings={"tau": 2.0}), evaluation("c")])


def test_a_guidance_sweep_is_over_strengths_from_one_noise():
    runs = [evaluation(f"w{w}", fid=9.0 - w, guidance=w) for w in (0.0, 0.5, 2.0)]
    drawn = draw_guidance(runs)
    fids = [(r["guidance"], r["mean"]) for r in rows_of(drawn.files["figure.csv"]) if r["measure"] == "fid"]
    assert fids == [("0", "9"), ("0.5", "8.5"), ("2", "7")]
    assert draw_guidance(runs).files == drawn.files
    with pytest.raises(MismatchError, match=r"seed: 0 in w0\.0, 7 in elsewhere"):
        draw_guidance([*runs, evaluation("elsewhere", guidance=1.0, seed=7)])


def test_class_differences_are_b_less_a_by_frequency_rank_and_their_moving_average_leaves_gaps_out():
    counts = (5, 30, 20)
    a = evaluation("a", class_fid=(3.0, 1.0, None), counts=counts)
    b = evaluation("b", class_fid=(1.5, 2.0, 4.0), counts=counts, settings={"objective": "ddpm"})
    table = rows_of(draw_class_fid([(a, b)]).files["figure.csv"])
    assert [(r["rank"], r["class"], r["training_images"]) for r in table] == [("1", "b", "30"), ("2", "c", "20"), ("3", "a", "5")]
    assert [r["difference"] for r in table] == ["1", "", "-1.5"]
    assert [r["difference_smoothed"] for r in table] == ["-0.25"] * 3
    assert [(r["first"], r["second"]) for r in table] == [("1", "2"), ("", ""), ("3", "1.5")]
    assert draw_class_fid([(a, b)]).notes == ("No distance for frequency rank 2: too few images on either side.",)
    assert names_of_sides([(a, b)]) == ("cbdm", "ddpm")
    assert names_of_sides([(a, dataclasses.replace(b, record=dataclasses.replace(b.record, arm="cbdm")))]) == ("a", "b")


def test_pairs_of_other_seeds_are_lined_up_by_their_own_ranks_and_averaged():
    first = (evaluation("a", class_fid=(1, 2, 3)), evaluation("b", class_fid=(2, 4, 6)))
    second = (
        evaluation("c", seed=1, class_fid=(1, 2, 3), counts=(5, 20, 30)),
        evaluation("d", seed=1, class_fid=(0, 0, 0), counts=(5, 20, 30)),
    )
    ranked = rank_differences([first, second])
    assert [r.classes for r in ranked] == [("a", "c"), ("b", "b"), ("c", "a")]
    assert [r.differences for r in ranked] == [(1, -3), (2, -2), (3, -1)]
    table = rows_of(draw_class_fid([first, second]).files["figure.csv"])
    assert [(r["class"], r["difference"], r["difference_sd"]) for r in table] == [
        ("", "-1", "2.82843"),
        ("", "0", "2.82843"),
        ("", "1", "2.82843"),
    ]


def test_a_pair_of_two_draws_or_without_a_common_class_is_refused():
    with pytest.raises(MismatchError, match="a and b are of generators fitted to other images"):
        rank_differences([(evaluation("a"), evaluation("b", seed=1))])
    with pytest.raises(OptionError, match="a and b share no class with a distance; evaluate with more --samples"):
        rank_differences([(evaluation("a", class_fid=(1, None, None)), evaluation("b", class_fid=(None, 1, 1)))])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["e/s/ddpm/gen", "e/s/ddpm-ada/gen"], ["ddpm", "ddpm-ada"]),
        (["runs/a", "runs/b", "runs/a/c"], ["a", "b", "a/c"]),
        (["gen", "gen/x"], ["gen", "x"]),
        (["somewhere/gen"], ["gen"]),
    ],
)
def test_paths_are_told_apart_by_what_differs(paths, names):
    assert told_apart([Path(path) for path in paths]) == names


def test_only_inceptions_features_give_what_is_published_as_fid():
    assert title_of("fid", "inception") == "FID (lower is better)"
    assert title_of("fid", "classifier") == "Fréchet distance (lower is better)"
    assert title_of("inception_score", "classifier") == "inception score by classifier (higher is better)"
    assert title_of("recall/few", "pixels") == "recall of few-shot classes (higher is better)"
