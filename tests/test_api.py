"""The public names: there, documented, and free until used."""

import importlib
import inspect
import subprocess
import sys

import pytest

import ltaug
from ltaug import stages
from ltaug.cli.dryrun import STAGE_OF
from ltaug.options import STAGES
from ltaug.stages.estimation import MEASURED


def test_the_public_names_are_these():
    assert set(ltaug.__all__) == {
        "Dataset",
        "DatasetOptions",
        "ImageSet",
        "LtaugError",
        "Machine",
        "Recipe",
        "Report",
        "RunPath",
        "draw_figure",
        "estimate",
        "evaluate_generator",
        "export",
        "export_generator",
        "fit_generator",
        "grow",
        "inspect",
        "load_dataset",
        "merged",
        "read_recipe",
        "resample",
        "run_recipe",
        "run_until_decided",
        "synthesize",
        "train_classifier",
        "write_report",
    }


@pytest.mark.parametrize("name", ltaug.__all__)
def test_every_public_name_exists_and_says_what_it_is(name):
    thing = getattr(ltaug, name)
    assert thing.__doc__
    assert thing.__module__.startswith("ltaug.")


@pytest.mark.parametrize("name", stages.__all__)
def test_every_stage_is_a_function_of_its_name_also_when_all_its_modules_are_loaded(name):
    for module in stages._HOME.values():
        importlib.import_module(f"ltaug.stages.{module}")
    function = getattr(stages, name)
    assert inspect.isfunction(function)
    assert function.__name__ == name
    assert function.__doc__
    if name in ltaug.__all__:
        assert getattr(ltaug, name) is function


def test_the_stages_of_the_pipeline_and_of_the_estimates_exist():
    assert set(STAGE_OF) < set(stages.__all__)
    assert set(STAGE_OF.values()) == set(MEASURED) == set(STAGES)


@pytest.mark.parametrize("package", [ltaug, stages])
def test_another_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_importing_ltaug_asking_for_help_or_sharing_out_the_work_of_a_run_loads_no_torch():
    heavy = "any(m in sys.modules for m in ('torch', 'numpy', 'sklearn', 'matplotlib'))"
    program = f"import sys, ltaug, ltaug.cli, ltaug.pipeline; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_looking_at_a_dataset_loads_neither_torch_nor_scikit_learn(tmp_path):
    program = (
        "import sys, numpy as np, ltaug; np.savez(sys.argv[1], images=np.zeros((8, 4, 4), np.uint8), labels=np.arange(8) % 2);"
        "ltaug.inspect({'dataset': sys.argv[1], 'test_per_class': 1});"
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "set.npz")], check=False).returncode == 0
