"""What a recipe means: which stages, where, after which, and what is shared."""

from __future__ import annotations

import pytest

from ltaug.errors import CorruptError, OptionError
from ltaug.files import write_json
from ltaug.pipeline.plan import Task, described, plan, plan_classifiers
from ltaug.pipeline.run import urgency
from ltaug.recipes import read_recipe

RECIPE = """
dataset = "digits"
seeds = 2
[fit-generator]
steps = 1000
[synthesize]
judges = 3
[arms.real]
[arms.ddpm.fit-generator]
objective = "ddpm"
[arms.cbdm]
about = "all of it"
[arms.cbdm.synthesize]
[arms.selected.synthesize]
select-agreement = true
[arms.stacked]
[arms.stacked.synthesize]
select-agreement = true
[arms.stacked.train-classifier]
loss = "logit-adjusted"
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return read_recipe(path)


def test_every_stage_of_every_seed_is_planned_once(recipe, tmp_path):
    tasks = plan(recipe, tmp_path)
    expected = [
        *(f"judges/judge-{i}" for i in range(3)),
        "real/classifier",
        "ddpm/generator",
        "ddpm/synthetic",
        "resampled/classifier",
        "ddpm/classifier",
        "cbdm/generator",
        "cbdm/synthetic",
        "cbdm/classifier",
        "selected/synthetic",  # its generator is cbdm's
        "selected/classifier",
        "resampled-stacked/classifier",
        "stacked/classifier",  # its images are selected's
    ]
    assert [t.name for t in tasks] == [f"seed-{s}/{n}" for s in (0, 1) for n in expected] + ["report"]
    assert all(t.directory == tmp_path / t.name for t in tasks)


def test_tasks_come_after_what_they_need_and_read_it(recipe, tmp_path):
    tasks = {t.name: t for t in plan(recipe, tmp_path, 1)}
    names = list(tasks)
    for task in tasks.values():
        assert all(names.index(need) < names.index(task.name) for need in task.needs)
    selected = tasks["seed-0/selected/synthetic"]
    assert selected.needs == ("seed-0/cbdm/generator", *(f"seed-0/judges/judge-{i}" for i in range(3)))
    assert selected.kwargs["generator"] == tmp_path / "seed-0/cbdm/generator"
    assert selected.kwargs["judges"] == [tmp_path / f"seed-0/judges/judge-{i}" for i in range(3)]
    assert tasks["seed-0/cbdm/synthetic"].kwargs["judges"] is None
    assert tasks["seed-0/stacked/classifier"].kwargs["synthetic"] == tmp_path / "seed-0/selected/synthetic"
    assert tasks["seed-0/real/classifier"].kwargs["synthetic"] is None
    assert tasks["report"].kwargs["runs"] == [t.directory for t in tasks.values() if t.function == "train_classifier"]


def test_a_control_takes_the_class_counts_of_the_first_arm_and_its_training(recipe, tmp_path):
    tasks = {t.name: t for t in plan(recipe, tmp_path, 1)}
    for control, first, source, about in (
        ("resampled", "ddpm", "ddpm", "real images resampled to the class counts of ddpm"),
        ("resampled-stacked", "stacked", "selected", "real images resampled to the class counts of stacked, trained as it is"),
    ):
        task, own = (tasks[f"seed-0/{name}/classifier"] for name in (control, first))
        synthesis = f"seed-0/{source}/synthetic"
        assert task.needs == own.needs == (synthesis,)
        named = {"arm": control, "about": about, "out": task.directory, "label": task.name}
        images = {"synthetic": None, "resampled_to": tmp_path / synthesis}
        assert task.kwargs == {**own.kwargs, **images, **named}, "nothing else differs"
        assert task.directory in tasks["report"].kwargs["runs"]


def test_a_recipe_without_synthetic_images_has_no_control(tmp_path):
    (tmp_path / "mine.toml").write_text('[arms.real]\n[arms.adjusted.train-classifier]\nloss = "logit-adjusted"\n')
    names = [t.name for t in plan(read_recipe(tmp_path / "mine.toml"), tmp_path)]
    assert names == ["seed-0/real/classifier", "seed-0/adjusted/classifier", "report"]


def test_the_seed_goes_to_every_stage_and_only_given_options_travel(recipe, tmp_path):
    for task in plan(recipe, tmp_path, 2, first_seed=5)[:-1]:
        assert task.name.startswith(f"seed-{task.kwargs['seed']}/")
        assert task.kwargs["seed"] in (5, 6)
    generator = next(t for t in plan(recipe, tmp_path) if t.name == "seed-0/ddpm/generator")
    assert generator.kwargs["given"] == {"steps": 1000, "objective": "ddpm"}
    assert generator.kwargs["dataset"] == {"dataset": "digits"}


def test_generators_with_the_longest_way_to_go_are_the_most_urgent(recipe, tmp_path):
    tasks = plan(recipe, tmp_path, 1)
    order = sorted((t.name for t in tasks), key=lambda name: -urgency(tasks)[name])
    assert order[0] == "seed-0/cbdm/generator"
    assert order[-1] == "report"
    assert order.index("seed-0/judges/judge-0") < order.index("seed-0/real/classifier")


def test_finished_is_what_the_run_says(recipe, tmp_path):
    task = plan(recipe, tmp_path)[0]
    assert not task.finished
    task.directory.mkdir(parents=True)
    write_json(task.directory / "run.json", {"status": "running"})
    assert not task.finished
    write_json(task.directory / "run.json", {"status": "finished"})
    assert task.finished
    (task.directory / "run.json").write_text("{")
    with pytest.raises(CorruptError):
        _ = task.finished


def test_classifiers_are_planned_with_and_without_synthetic_images_on_one_draw(tmp_path):
    tasks = plan_classifiers({}, {"steps": 5}, out=tmp_path, seeds=2, seed=3, synthetic=tmp_path / "syn", arm="both")
    assert [t.name for t in tasks] == [f"{arm}/seed-{s}" for s in (3, 4) for arm in ("both", "real", "resampled-both")]
    assert [t.kwargs["seed"] for t in tasks] == [3, 3, 3, 4, 4, 4]
    assert {t.kwargs["draw_seed"] for t in tasks} == {3}
    assert [t.kwargs["synthetic"] for t in tasks] == [tmp_path / "syn", None, None] * 2
    assert [t.kwargs.get("resampled_to") for t in tasks] == [None, None, tmp_path / "syn"] * 2
    alone = plan_classifiers({}, {}, out=tmp_path, seeds=1, synthetic=tmp_path / "syn", arm="both", baseline=False)
    assert [t.name for t in alone] == ["both/seed-0"]
    real = plan_classifiers({}, {}, out=tmp_path, seeds=1, synthetic=None, arm="both", baseline=False)
    assert [t.name for t in real] == ["real/seed-0"]


def test_the_control_of_unnamed_classifiers_has_the_plain_name(tmp_path):
    tasks = plan_classifiers({}, {}, out=tmp_path, seeds=1, synthetic=tmp_path / "syn", arm="real+synthetic")
    assert [t.kwargs["arm"] for t in tasks] == ["real+synthetic", "real", "resampled"]


TAUGHT = """
seeds = 1
[train-classifier]
distill = "real"
[arms.real.train-classifier]
distill = "none"
[arms.taught.train-classifier]
teachers = 3
[arms.selected]
synthesize = { select-agreement = true }
train-classifier = { distill = "synthetic", teachers = 4 }
"""


def test_teachers_are_the_judges_of_the_seed_as_many_as_an_arm_asks_for(tmp_path):
    (tmp_path / "taught.toml").write_text(TAUGHT)
    tasks = {t.name: t for t in plan(read_recipe(tmp_path / "taught.toml"), tmp_path)}
    judges = [f"seed-0/judges/judge-{i}" for i in range(4)]
    assert [name for name in tasks if "judges" in name] == judges
    asked = {name: t.kwargs.get("teachers") for name, t in tasks.items() if t.function == "train_classifier"}
    assert asked == {
        "seed-0/real/classifier": None,
        "seed-0/taught/classifier": [tmp_path / j for j in judges[:3]],
        "seed-0/resampled-selected/classifier": [tmp_path / j for j in judges],
        "seed-0/selected/classifier": [tmp_path / j for j in judges],
    }
    assert tasks["seed-0/taught/classifier"].needs == tuple(judges[:3])
    assert set(judges) < set(tasks["seed-0/selected/classifier"].needs)
    assert tasks["seed-0/selected/synthetic"].kwargs["judges"] == [tmp_path / j for j in judges[:2]]


PUBLISHED = """
dataset = "folder:photos"
[evaluate-generator]
[synthesize]
select-agreement = true
[arms.real.train-classifier]
preset = "finetune"
model = "resnet18.a1_in1k"
pretrained = "hub"
[arms.scratch]
[arms.both.synthesize]
"""


def test_judges_and_the_extractor_are_probes_of_the_weights_that_the_baseline_starts_from(tmp_path):
    weights = {"model": "resnet18.a1_in1k", "pretrained": "hub"}
    for baseline, expected in (("real", weights), ("scratch", None)):
        path = tmp_path / "published.toml"
        path.write_text(f'baseline = "{baseline}"\n{PUBLISHED}')
        tasks = plan(read_recipe(path), tmp_path)
        looking = [t for t in tasks if t.function in ("train_judge", "train_extractor")]
        assert [t.name for t in looking] == ["extractor", "seed-0/judges/judge-0", "seed-0/judges/judge-1"]
        assert [t.kwargs.get("published") for t in looking] == [expected] * 3
        options = [described(task, tasks)[2] for task in looking]
        assert all(
            (given.get("preset"), given.get("pretrained")) == (expected and "probe", expected and "hub") for given in options
        )


def test_teachers_are_probes_of_the_weights_that_their_students_start_from(tmp_path):
    weights = {"model": "resnet18.a1_in1k", "pretrained": "hub"}
    how = {"out": tmp_path, "seeds": 1, "synthetic": None, "arm": "both"}
    for given, expected in (({"preset": "finetune", **weights}, weights), ({"model": "resnet20"}, None)):
        judge, *_ = plan_classifiers({}, {"distill": "real", "teachers": 1, **given}, **how)
        assert (judge.name, judge.kwargs.get("published")) == ("judges/judge-0", expected)


def test_a_generator_whose_objective_asks_a_judge_gets_that_of_the_seed(tmp_path):
    arms = '[arms.real]\n[arms.held]\nfit-generator = { objective = "cbdm+aid" }\n[arms.free.fit-generator]\nobjective = "ddpm"\n'
    (tmp_path / "held.toml").write_text('dataset = "digits"\n' + arms)
    tasks = {t.name: t for t in plan(read_recipe(tmp_path / "held.toml"), tmp_path)}
    assert [name for name in tasks if "judges" in name] == ["seed-0/judges/judge-0"]
    held, free = (tasks[f"seed-0/{arm}/generator"] for arm in ("held", "free"))
    assert held.kwargs["judges"] == [tmp_path / "seed-0/judges/judge-0"]
    assert held.needs == ("seed-0/judges/judge-0",)
    assert "judges" not in free.kwargs
    assert free.needs == ()
    assert tasks["seed-0/held/synthetic"].kwargs["judges"] is None


def test_classifiers_that_learn_from_teachers_share_those_that_are_trained_first(tmp_path):
    how = {"out": tmp_path, "seeds": 2, "seed": 3, "synthetic": None, "arm": "both"}
    tasks = plan_classifiers({}, {"distill": "real", "teachers": 2}, **how)
    assert [t.name for t in tasks] == ["judges/judge-0", "judges/judge-1", "real/seed-3", "real/seed-4"]
    assert {t.kwargs["seed"] for t in tasks[:2]} == {3}
    for classifier in tasks[2:]:
        assert classifier.needs == ("judges/judge-0", "judges/judge-1")
        assert classifier.kwargs["teachers"] == [tmp_path / "judges/judge-0", tmp_path / "judges/judge-1"]
    (given, *_) = plan_classifiers({}, {"distill": "real"}, teachers=[tmp_path / "mine"], **how)
    assert (given.name, given.needs, given.kwargs["teachers"]) == ("real/seed-3", (), [tmp_path / "mine"])


def test_teachers_that_nothing_asks_for_are_refused_and_real_images_alone_have_none_for_synthetic_ones(tmp_path):
    how = {"out": tmp_path, "seeds": 1, "arm": "both"}
    for given in ({}, {"distill": "synthetic"}):
        with pytest.raises(OptionError, match="--teacher is read only with --distill"):
            plan_classifiers({}, given, teachers=[tmp_path], synthetic=None, **how)
    tasks = plan_classifiers({}, {"distill": "synthetic", "teachers": 1}, synthetic=tmp_path / "syn", **how)
    taught = {t.name: "teachers" in t.kwargs for t in tasks}
    assert taught == {"judges/judge-0": False, "both/seed-0": True, "real/seed-0": False, "resampled-both/seed-0": True}


@pytest.mark.parametrize("arm", ["real", "resampled", "resampled-real"])
def test_classifiers_with_synthetic_images_are_not_called_as_those_without(arm, tmp_path):
    with pytest.raises(OptionError, match=f"--arm-name '{arm}' is what classifiers without synthetic images are called"):
        plan_classifiers({}, {}, out=tmp_path, seeds=1, synthetic=tmp_path / "syn", arm=arm)


CHAIN = """
seeds = 1
[arms.longer.fit-generator]
from = "tuned"
steps = 30
[arms.tuned.fit-generator]
from = "ddpm-selected"
steps = 250
[arms.tuned-selected.fit-generator]
from = "ddpm"
steps = 250
[arms.ddpm.fit-generator]
objective = "ddpm"
[arms.ddpm-selected.fit-generator]
objective = "ddpm"
"""


def test_a_generator_comes_after_the_one_it_starts_from_and_equal_starts_are_one(tmp_path):
    (tmp_path / "mine.toml").write_text(CHAIN)
    tasks = {t.name: t for t in plan(read_recipe(tmp_path / "mine.toml"), tmp_path)}
    fits = [t for t in tasks.values() if t.function == "fit_generator"]
    # ddpm is ddpm-selected, by which it was first asked for, and tuned-selected is tuned: the same start and options
    assert [(t.name, t.needs, t.kwargs.get("source")) for t in fits] == [
        ("seed-0/ddpm-selected/generator", (), None),
        ("seed-0/tuned/generator", ("seed-0/ddpm-selected/generator",), tmp_path / "seed-0/ddpm-selected/generator"),
        ("seed-0/longer/generator", ("seed-0/tuned/generator",), tmp_path / "seed-0/tuned/generator"),
    ]
    assert tasks["seed-0/tuned/synthetic"].kwargs["generator"] == tmp_path / "seed-0/tuned/generator"
    assert "seed-0/tuned-selected/synthetic" not in tasks
    order = urgency(list(tasks.values()))
    first, second, last = (order[t.name] for t in fits)
    assert first > second > last


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        ({}, 2),
        ({"objective": "ddpm"}, 1),
        ({"objective": "t2h+coral"}, 1),
        ({"objective": "t2h+cbdm+coral", "draws": 3}, 4),
        ({"objective": "cbdm", "pair_form": "sampled", "pair_fraction": 0.5}, 1.25),
    ],
)
def test_a_fit_costs_its_steps_times_its_passes(given, passes, tmp_path):
    task = Task("g", "fit_generator", {"given": {"steps": 100, **given}}, (), tmp_path)
    assert urgency([task]) == {"g": 100 * passes}


EVALUATED = """
dataset = "digits"
imbalance = 100
[evaluate-generator]
samples = 100
[synthesize]
guidance = 0.5
[arms.real]
[arms.ddpm.fit-generator]
objective = "ddpm"
[arms.selected]
fit-generator = { objective = "ddpm" }
synthesize = { select-agreement = true }
[arms.pixels]
fit-generator = { objective = "cbdm" }
evaluate-generator = { extractor = "pixels", guidance = 1.0 }
"""


def evaluations(tmp_path, text):
    path = tmp_path / "evaluated.toml"
    path.write_text(text)
    tasks = plan(read_recipe(path), tmp_path, 2)
    return tasks, {t.name: t for t in tasks if t.function == "evaluate_generator"}


def test_each_generator_is_evaluated_once_by_one_extractor_for_all_seeds(tmp_path):
    tasks, found = evaluations(tmp_path, EVALUATED)
    assert list(found) == [f"seed-{s}/{arm}/evaluation" for s in (0, 1) for arm in ("ddpm", "pixels")]
    assert [t.name for t in tasks if t.function == "train_extractor"] == ["extractor"]
    assert tasks[0].name == "extractor", "what others need comes before them"
    ours = found["seed-1/ddpm/evaluation"]
    assert ours.needs == ("seed-1/ddpm/generator", "extractor")
    assert ours.kwargs["extractor_run"] == tmp_path / "extractor"
    report = tasks[-1]
    assert set(found) < set(report.needs)
    assert found["seed-0/pixels/evaluation"].directory in report.kwargs["runs"]


def test_a_generator_is_sampled_for_its_evaluation_as_for_synthesis_unless_told_otherwise(tmp_path):
    _, found = evaluations(tmp_path, EVALUATED)
    assert found["seed-0/ddpm/evaluation"].kwargs["given"] == {"guidance": 0.5, "samples": 100}
    other = found["seed-0/pixels/evaluation"]
    assert other.kwargs["given"] == {"guidance": 1.0, "samples": 100, "extractor": "pixels"}
    assert "extractor_run" not in other.kwargs


def test_without_the_table_nothing_is_evaluated_and_an_empty_one_is_enough(tmp_path):
    bare = EVALUATED.replace("[evaluate-generator]\nsamples = 100\n", "").replace("evaluate-generator =", "# ")
    tasks, found = evaluations(tmp_path, bare)
    assert not found
    assert all(t.function != "train_extractor" for t in tasks)
    _, found = evaluations(tmp_path, EVALUATED.replace("samples = 100", ""))
    assert len(found) == 4
