"""The public names: there, documented, and free until used."""

import subprocess
import sys

import pytest

import ltaug


def test_the_public_names_are_these():
    assert set(ltaug.__all__) == {
        "Dataset",
        "ImageSet",
        "LtaugError",
        "Machine",
        "Recipe",
        "draw_figure",
        "estimate",
        "evaluate_generator",
        "fit_generator",
        "inspect",
        "load_dataset",
        "read_recipe",
        "run_recipe",
        "synthesize",
        "train_classifier",
        "write_report",
    }
    assert set(ltaug.__all__) == set(ltaug._HOME)


@pytest.mark.parametrize("name", ltaug.__all__)
def test_every_public_name_exists_and_says_what_it_is(name):
    thing = getattr(ltaug, name)
    assert thing.__doc__
    assert thing.__module__.startswith("ltaug.")


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ltaug.nothing


def test_importing_ltaug_or_asking_for_help_loads_no_torch():
    heavy = "any(m in sys.modules for m in ('torch', 'sklearn', 'matplotlib'))"
    program = f"import sys, ltaug, ltaug.cli, ltaug.pipeline; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
