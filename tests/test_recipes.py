"""Recipes and options: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltaug.errors import LtaugError, OptionError
from ltaug.fields import check, field_types, is_read, resolve
from ltaug.machine import Machine
from ltaug.options import STAGES, ClassifierOptions, DatasetOptions, GeneratorOptions, SynthesisOptions
from ltaug.recipes import read_recipe, recipe_path, shipped_recipes
from ltaug.shapes import LARGEST
from ltaug.starting import StartingOptions

TABLES = (DatasetOptions, GeneratorOptions, SynthesisOptions, ClassifierOptions)
RECIPE = """
about = "a comparison"
seeds = 3
dataset = "digits"
imbalance = 100
[fit-generator]
steps = 10
[arms.real]
about = "cross-entropy"
[arms.cbdm.fit-generator]
objective = "cbdm"
channel-mults = [1, 2]
[arms.cbdm.synthesize]
per-class-budget = 500
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read_with_values_of_the_fields_types(tmp_path):
    recipe = read_recipe(write(tmp_path, RECIPE))
    assert (recipe.name, recipe.seeds, recipe.baseline) == ("mine", 3, "real")
    assert recipe.dataset == {"dataset": "digits", "imbalance": 100.0}
    real, cbdm = recipe.arms
    assert (real.synthetic, cbdm.synthetic) == (False, True)
    assert recipe.given(cbdm, "fit-generator") == {"steps": 10, "objective": "cbdm", "channel_mults": (1, 2)}
    assert recipe.given(cbdm, "synthesize") == {"per_class_budget": "500"}
    assert recipe.given(real, "train-classifier") == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("imbalanse = 3", "unknown key 'imbalanse'; did you mean 'imbalance'?"),
        ("seeds = 0", "seeds = 0 must be a whole number of at least 1"),
        ("seeds = true", "seeds = True must be a whole number"),
        ("imbalance = 0.5", "imbalance = 0.5 must be at least 1"),
        ("imbalance = inf", "imbalance = inf must be a finite number"),
        ("imbalance = nan", "imbalance = nan must be a finite number"),
        ('imbalance = "much"', "imbalance = 'much' is not a float"),
        ("head = 1.5", "head = 1.5 is not a int"),
        ("head = true", "head = True is not a int"),
        ('profile = "expo"', "profile = 'expo': did you mean 'exp'?"),
        ('baseline = "reel"', "baseline = 'reel' is not an arm; did you mean 'real'?"),
        ("fit-generator = 3", "fit-generator = 3 must be a table"),
        ("dataset =", "is not valid TOML"),
    ],
)
def test_a_bad_key_or_value_is_named_with_what_to_do(tmp_path, line, said):
    with pytest.raises(OptionError) as caught:
        read_recipe(write(tmp_path, f"{line}\n[arms.real]\n"))
    assert said in str(caught.value)
    assert "recipe mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("", "has no arms; add at least [arms.real]"),
        ("[arms.real.train-clasifier]", "[arms.real]: unknown key 'train-clasifier'; did you mean 'train-classifier'?"),
        ("[arms.real.synthesize]\nguidence = 1", "[arms.real].synthesize: unknown key 'guidence'; did you mean 'guidance'?"),
        ("[fit-generator]\nema = 1.5\n[arms.real]", "ema = 1.5 must be between 0 and 1"),
        ("[fit-generator]\nchannel-mults = 2\n[arms.real]", "channel-mults = 2 is not a list"),
        ("[fit-generator]\nsteps = 5\n[arms.real]", "[fit-generator] reaches no arm, as none has a generator"),
        ("[synthesize]\nguidance = 1\n[arms.real]", "[synthesize] reaches no arm, as none has a generator"),
        ('[arms."a/b"]', "'a/b' cannot be a directory"),
        ("[arms.judges]", "'judges' cannot be a directory"),
        ("[arms.resampled]", "names that begin with 'resampled' are for the controls that ltaug adds; use another name"),
        ("[arms.resampled-real]", "[arms.resampled-real]: names that begin with 'resampled'"),
        ("[arms]\nreal = 3", "real = 3 must be a table"),
    ],
)
def test_a_bad_table_is_named_with_what_to_do(tmp_path, tables, said):
    with pytest.raises(OptionError) as caught:
        read_recipe(write(tmp_path, tables))
    assert said in str(caught.value)


def test_a_shared_option_of_one_method_reaches_only_the_arms_that_use_it(tmp_path):
    text = """
[fit-generator]
tau = 0.5
steps = 10
[arms.default]
[arms.ddpm.fit-generator]
objective = "ddpm"
[arms.both.fit-generator]
objective = "t2h+cbdm"
"""
    recipe = read_recipe(write(tmp_path, text))
    default, ddpm, both = (recipe.given(arm, "fit-generator") for arm in recipe.arms)
    assert default == {"tau": 0.5, "steps": 10}
    assert ddpm == {"objective": "ddpm", "steps": 10}
    assert both == {"objective": "t2h+cbdm", "tau": 0.5, "steps": 10}


ARM = "[arms.a.fit-generator]\nobjective = 'ddpm'\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ARM}gamma = 1", "[arms.a.fit-generator]: --gamma 1.0 is read only with --objective ddpm+cbdm (it is ddpm)"),
        (f"{ARM}patch = 4", "--patch 4 is read only with --backbone vit (it is unet)"),
        (f"[fit-generator]\ntau = 2\n{ARM}", "[fit-generator]: no arm has a component that reads tau = 2.0"),
        (
            f"{ARM}[arms.a.synthesize]\nvariance = 'fixedsmall'",
            "--variance fixedsmall is read only with --sampler ddpm (it is dpm++2m)",
        ),
        (f"{ARM}[arms.a.synthesize]\nband = [0, 0.5]", "--band 0.0,0.5 is read only with --select-distance"),
        (f"{ARM}[arms.a.synthesize]\njudges = 3", "--judges 3 is read only with --select-agreement or --select-distance"),
        (f"{ARM}[arms.a.synthesize]\nguidance = 0\nguidance-interval = [0.2, 0.7]", "is read only with --guidance above 0"),
        (
            "[arms.a.train-classifier]\nloss = 'balanced-softmax'\nadjust-tau = 5",
            "--adjust-tau 5.0 is read only with --loss logit-adjusted (it is balanced-softmax)",
        ),
        ("[arms.a.fit-generator]\nobjective = 't2h'\naugment = 'ada'", "--augment ada does not go with --objective t2h"),
    ],
)
def test_an_option_that_nothing_reads_is_refused_before_anything_is_computed(tmp_path, text, said):
    with pytest.raises(OptionError) as caught:
        read_recipe(write(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "line", "said"),
    [
        ("fit-generator", "objective = 'cbmd'", "unknown term 'cbmd'; did you mean 'cbdm'?"),
        ("fit-generator", "objective = 't2h+ddpm'", "has 2 target rules"),
        ("fit-generator", "backbone = 'uunet'", "backbone = 'uunet': did you mean 'unet'?"),
        ("fit-generator", "augment = 'adda'", "augment = 'adda': did you mean 'ada'?"),
        ("synthesize", "sampler = 'dpmpp'", "sampler = 'dpmpp': did you mean 'ddpm'?"),
        ("synthesize", "per-class-budget = 'fil:max'", "did you mean 'fill'?"),
        (
            "synthesize",
            "guidance-interval = [0.7, 0.2]",
            "= 0.7,0.2 must be two ascending numbers between 0 and 1",
        ),
        ("synthesize", "images-to = 'shard'", "shard"),
        ("evaluate-generator", "extractor = 'inceptoin'", "did you mean 'inception'?"),
        ("evaluate-generator", "reference = 'balancd'", "did you mean 'balanced'?"),
        ("train-classifier", "loss = 'logit-ajusted'", "loss = 'logit-ajusted': did you mean 'logit-adjusted'?"),
        ("train-classifier", "augment = 'crop-flip+randagument'", "'randagument' is unknown; did you mean 'randaugment'?"),
        ("train-classifier", "schedule = 'cosin'", "schedule = 'cosin': did you mean 'cosine'?"),
        ("train-classifier", "model = 'resnett34'", "--model 'resnett34' is unknown; did you mean 'resnet34'?"),
    ],
)
def test_a_misspelt_name_is_refused_when_the_recipe_is_read(tmp_path, stage, line, said):
    with pytest.raises(LtaugError) as caught:
        read_recipe(write(tmp_path, f"[arms.a.fit-generator]\n[arms.b.{stage}]\n{line}"))
    assert said in str(caught.value)
    assert "recipe mine.toml, [arms.b]" in str(caught.value)


def test_an_unknown_recipe_lists_the_shipped_ones():
    with pytest.raises(OptionError) as caught:
        recipe_path("no-such-recipe")
    assert "no recipe 'no-such-recipe'" in str(caught.value)
    assert all(name in str(caught.value) for name in shipped_recipes())


def test_there_is_a_control_for_each_training_on_each_budget_of_arms_with_synthetic_images(tmp_path):
    assert read_recipe(recipe_path("digits-lt")).controls() == {
        "cbdm": "resampled",
        "cbdm-taught": "resampled-cbdm-taught",
    }
    assert read_recipe(recipe_path("digits-methods")).controls() == {"ddpm": "resampled"}
    budgets = """
        baseline = "plain"
        [train-classifier]
        steps = 5
        [arms.half.train-classifier]
        steps = 3
        [arms.plain]
        [arms.halved]
        synthesize = { per-class-budget = "fill:max" }
        train-classifier = { steps = 3 }
        [arms.filled.fit-generator]
        [arms.more.synthesize]
        per-class-budget = 500
        [arms.filled-too.synthesize]
        per-class-budget = "fill:max"
        guidance = 1
    """
    two = read_recipe(write(tmp_path, budgets)).controls()
    assert two == {"halved": "resampled-halved", "filled": "resampled", "more": "resampled-more"}
    assert read_recipe(write(tmp_path, "[arms.real]\n[arms.half.train-classifier]\nsteps = 3")).controls() == {}


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid(name):
    recipe = read_recipe(recipe_path(name))
    assert recipe.name == name
    assert recipe.about, "a shipped recipe says what it is about"


@pytest.mark.parametrize("cls", TABLES)
def test_the_defaults_are_within_their_own_limits(cls):
    for side in (8, 32):
        resolved = dataclasses.asdict(resolve(cls, {}, image_side=side))
        check(cls, {k: v for k, v in resolved.items() if v is not None}, where="defaults")


def test_small_images_take_the_small_defaults_and_given_values_stay():
    assert resolve(GeneratorOptions, {}, image_side=32).channels == 128
    assert resolve(GeneratorOptions, {}, image_side=16).channels == 16
    assert resolve(GeneratorOptions, {"channels": 24}, image_side=8).channels == 24


def test_no_two_tables_that_meet_in_a_command_share_an_option():
    names = lambda cls: {f.name for f in dataclasses.fields(cls)}  # noqa: E731
    for cls in STAGES.values():
        assert not names(cls) & names(DatasetOptions)
        assert not names(cls) & names(Machine)


@pytest.mark.parametrize("cls", TABLES)
def test_checking_what_was_checked_changes_nothing(cls):
    @given(values(cls))
    def holds(given_values):
        once = check(cls, given_values, where="options")
        assert check(cls, once, where="options") == once
        kebab = {name.replace("_", "-"): value for name, value in once.items()}
        assert check(cls, kebab, where="options") == once
        known = dataclasses.asdict(resolve(cls, {}, image_side=32)) | once
        read = {f.name: once[f.name] for f in dataclasses.fields(cls) if f.name in once and is_read(f, known)}
        # These go with some of the others only.
        if read.get("backbone") == "pretrained":
            del read["backbone"]
        alone = ("synthetic_fraction", "tau_norm", "refit_loss", "batch_size")
        for name in (*alone, *StartingOptions.__annotations__):
            read.pop(name, None)
        resolved = resolve(cls, read, image_side=32)
        assert all(getattr(resolved, name) == value for name, value in read.items())

    holds()


def values(cls: type) -> st.SearchStrategy[dict[str, object]]:
    """Any legal values for any of the table's keys."""
    return st.fixed_dictionaries({}, optional={f.name: _legal(cls, f) for f in dataclasses.fields(cls)})


def _legal(cls: type, f: dataclasses.Field[object]) -> st.SearchStrategy[object]:
    element, many, _ = field_types(cls)[f.name]
    low, high = f.metadata["low"], f.metadata["high"]
    if f.metadata["check"]:
        return st.just(f.default)
    if f.metadata["ascending"]:
        return st.lists(st.floats(low, high), min_size=2, max_size=2, unique=True).map(sorted)
    if f.metadata["choices"]:
        one: st.SearchStrategy[object] = st.sampled_from(list(f.metadata["choices"]))
    elif element is int:
        bound = LARGEST - 1
        one = st.integers(-bound if low is None else math.ceil(low), bound if high is None else high)
    elif element is float:
        one = st.floats(low, high, allow_nan=False, allow_infinity=False)
    else:
        one = st.booleans() if element is bool else st.text()
    return st.lists(one, max_size=4) if many else one


CHAIN = """
[fit-generator]
channels = 8
dropout = 0.2
[arms.tuned.fit-generator]
from = "ddpm"
objective = "cbdm"
[arms.real]
[arms.ddpm.fit-generator]
objective = "ddpm"
channels = 16
"""


def test_an_arm_may_start_from_another_ones_generator_and_takes_its_network(tmp_path):
    recipe = read_recipe(write(tmp_path, CHAIN))
    tuned, real, ddpm = recipe.arms
    assert (tuned.source, real.source, ddpm.source) == ("ddpm", None, None)
    assert recipe.given(tuned, "fit-generator") == {"dropout": 0.2, "objective": "cbdm"}
    assert recipe.given(ddpm, "fit-generator") == {"dropout": 0.2, "objective": "ddpm", "channels": 16}


def test_an_arm_that_only_says_where_it_starts_has_a_generator(tmp_path):
    tuned, _ = read_recipe(write(tmp_path, "[arms.tuned]\nfit-generator = { from = 'a' }\n[arms.a.synthesize]")).arms
    assert tuned.synthetic
    assert tuned.tables == {"fit-generator": {}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[arms.a]\nfit-generator = { from = 'ddqm' }\n[arms.ddpm.synthesize]",
            "from = 'ddqm' is not an arm; did you mean 'ddpm'?",
        ),
        ("[arms.a]\nfit-generator = { from = 'real' }\n[arms.real]", "from = 'real' has no generator; there are a"),
        ("[arms.a]\nfit-generator = { from = 'a' }", "from = 'a' leads back to itself (a from a); one arm must start afresh"),
        (
            "[arms.x]\nfit-generator = { from = 'a' }\n[arms.a]\nfit-generator = { from = 'b' }\n"
            "[arms.b]\nfit-generator = { from = 'a' }",
            "[arms.b].fit-generator: from = 'a' leads back to itself (x from a from b from a)",
        ),
        ("[arms.a]\nfit-generator = { from = ['b'] }", "from = ['b'] is not the name of an arm"),
        ("[fit-generator]\nfrom = 'a'\n[arms.a.synthesize]", "[fit-generator]: from is for single arms"),
        (
            "[arms.a]\nfit-generator = { from = 'b', channel-mults = [1] }\n[arms.b.synthesize]",
            "channel-mults describes the network, which comes from = 'b'; set it in [arms.b]",
        ),
        ("[arms.a]\nfit-generator = { form = 'b' }", "unknown key 'form'"),
        ("[arms.a]\nsynthesize = { from = 'b' }", "[arms.a].synthesize: unknown key 'from'"),
    ],
)
def test_a_start_that_leads_nowhere_is_named(tmp_path, text, said):
    with pytest.raises(OptionError) as caught:
        read_recipe(write(tmp_path, text))
    assert said in str(caught.value)
