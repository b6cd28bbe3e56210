"""What arms cost: every run behind them once, judges and sources included, in one unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ltaug.report.collect import collect
from ltaug.report.cost import Cost, costs, seed_cost
from ltaug.report.evaluations import collect_evaluations

COUNTS = [3, 2, 1]
RECALL = [0.9, 0.6, 0.3]


def change(run: Path, **fields) -> Path:
    """Rewrite parts of a record: a record without a seal is taken as it is."""
    record = json.loads((run / "run.json").read_text())
    record = {key: value for key, value in record.items() if key not in ("sha256", "format")}
    (run / "run.json").write_text(json.dumps(record | fields))
    return run


def minutes(run: Path, processor: float, clock: float = 0.0, **fields) -> Path:
    return change(run, spent={"processor": 60 * processor}, timings={"fit": 60 * clock}, **fields)


@pytest.fixture
def experiment(lab, tiny_real):
    """At both seeds: real images alone, images judged by two, and those of the same generator fine-tuned, judged by one."""

    def images(arm, seed, generator, judges, processor):
        given, *judged = ({"digest": "d" * 64, "path": str(run)} for run in (generator, *judges))
        inputs = {"generator": given, "train": {"digest": tiny_real.digest}, "judges": judged}
        return minutes(lab.synthesis(arm, seed, tiny_real, {"c": 2}), processor, inputs=inputs)

    for seed in (0, 1):
        own = {"counts": COUNTS, "names": "abc", "recall": RECALL, "train": tiny_real.digest}
        judges = [lab.classifier(f"judge-{i}", seed, judge=True, **own) for i in range(2)]
        for i, judge in enumerate(judges):
            minutes(judge, 3 + i)
        minutes(lab.classifier("real", seed, **own), 1 + seed, clock=20)
        base = minutes(lab.generator("shared", seed, {"steps": 1000}), 100, clock=50)
        tuned = minutes(lab.generator("further", seed, {"steps": 1000}, source=base), 10)
        for arm, generator, asked in (("cbdm", base, judges), ("tuned", tuned, judges[:1])):
            synthesis = images(arm, seed, generator, asked, 20 if arm == "cbdm" else 30)
            minutes(lab.classifier(arm, seed, synthetic_counts=[0, 0, 2], synthesis=synthesis, **own), 2)
    return lab.root


def test_an_arm_takes_all_that_is_behind_its_classifiers_in_the_mean_over_seeds(experiment):
    found = costs(collect([experiment]))
    assert found == {
        "cbdm": Cost(129, "processor", {"fit-generator": 100, "judges": 7, "synthesize": 20, "train-classifier": 2}),
        "real": Cost(1.5, "processor", {"train-classifier": 1.5}),
        "tuned": Cost(145, "processor", {"fit-generator": 110, "judges": 3, "synthesize": 30, "train-classifier": 2}),
    }


def test_teachers_count_as_judges_and_once_where_they_judge_too(experiment):
    for arm in ("real", "cbdm"):
        for seed in (0, 1):
            run = experiment / arm / f"seed-{seed}" / "classifier"
            inputs = json.loads((run / "run.json").read_text())["inputs"]
            teachers = [
                {"digest": "d" * 64, "path": str(experiment / f"judge-{i}" / f"seed-{seed}" / "classifier")} for i in (0, 1)
            ]
            change(run, inputs=inputs | {"teachers": teachers})
    found = costs(collect([experiment]))
    assert found["real"].parts == {"judges": 7, "train-classifier": 1.5}
    assert found["cbdm"].minutes == 129
    (experiment / "judge-1" / "seed-0").rename(experiment / "elsewhere")
    assert costs(collect([experiment]))["real"] is None


def test_a_further_seed_of_all_arms_takes_what_they_share_once(experiment, lab):
    found = collect([experiment])
    parts = {"fit-generator": 110, "judges": 7, "synthesize": 50, "train-classifier": 5.5}
    assert seed_cost(found) == Cost(172.5, "processor", parts)
    for seed in (0, 1, 7):
        generator = experiment / "shared" / f"seed-{min(seed, 1)}" / "generator"
        minutes(lab.evaluation("cbdm", seed, {"fid": 1.0}, weights="g" * 64, generator=generator), 4 if seed < 7 else 6)
    evaluations, _ = collect_evaluations([experiment])
    assert seed_cost(found, evaluations).parts == parts | {"evaluate-generator": 7}, "one of seed 0, two of seed 1"


def test_a_seed_that_an_arm_lacks_does_not_count_for_a_further_seed_of_all(experiment):
    change(experiment / "cbdm" / "seed-1" / "classifier", status="running")
    found = collect([experiment])
    assert seed_cost(found).parts["train-classifier"] == 5
    assert costs(found)["real"].minutes == 1.5
    change(experiment / "cbdm" / "seed-0" / "classifier", seed=5)
    assert seed_cost(collect([experiment])) is None


def test_on_a_gpu_minutes_are_the_clocks_and_add_up_over_processes_for_all_arms(experiment):
    for seed in (0, 1):
        change(experiment / "shared" / f"seed-{seed}" / "generator", device={"type": "cuda", "name": "H", "processes": 4})
    found = costs(collect([experiment]))
    assert {arm: (cost.minutes, cost.unit) for arm, cost in found.items()} == {
        "real": (20, "GPU"),
        "cbdm": (200, "GPU"),
        "tuned": (200, "GPU"),
    }
    assert seed_cost(collect([experiment])).unit == "GPU"


def test_a_run_of_an_earlier_version_counts_by_the_clock(experiment):
    change(experiment / "real" / "seed-0" / "classifier", spent={})
    assert costs(collect([experiment]))["real"].minutes == (20 + 2) / 2


@pytest.mark.parametrize("lost", ["shared/seed-1/generator", "judge-0/seed-1/classifier", "tuned/seed-1/synthetic"])
def test_nothing_is_claimed_of_an_arm_that_has_lost_a_part(experiment, lost):
    (experiment / lost / "run.json").unlink()
    found = costs(collect([experiment]))
    assert found["tuned"] is None
    assert found["real"] is not None
    assert (found["cbdm"] is None) == (not lost.startswith("tuned"))
    assert seed_cost(collect([experiment])) is None


def test_one_set_of_images_for_classifiers_of_several_seeds_is_not_made_again_for_a_further_one(lab, tiny_real):
    synthesis = minutes(lab.synthesis("cbdm", 0, tiny_real, {"c": 2}), 20)
    minutes(synthesis.parent / "generator", 100)
    for seed in (0, 1):
        own = {"counts": COUNTS, "names": "abc", "recall": RECALL, "train": tiny_real.digest}
        minutes(lab.classifier("real", seed, **own), 1)
        minutes(lab.classifier("cbdm", seed, synthetic_counts=[0, 0, 2], synthesis=synthesis, **own), 2)
    found = collect([lab.root])
    assert costs(found)["cbdm"].minutes == 122
    assert seed_cost(found) == Cost(3, "processor", {"train-classifier": 3})


def test_what_images_of_another_origin_took_is_not_known_but_a_further_seed_makes_none(lab):
    for seed in (0, 1):
        own = {"counts": COUNTS, "names": "abc", "recall": RECALL, "train": "r" * 64}
        minutes(lab.classifier("real", seed, **own), 1)
        given = {"digest": "s" * 64, "path": "vendor", "origin": "folder"}
        vendor = minutes(lab.classifier("vendor", seed, synthetic_counts=[0, 0, 2], **own), 2)
        inputs = json.loads((vendor / "run.json").read_text())["inputs"]
        change(vendor, inputs=inputs | {"synthetic": given})
    found = collect([lab.root])
    assert costs(found) == {"real": Cost(1, "processor", {"train-classifier": 1}), "vendor": None}
    assert seed_cost(found) == Cost(3, "processor", {"train-classifier": 3})
