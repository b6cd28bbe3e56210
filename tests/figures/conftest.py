"""Small generators of one draw of digits that have barely learnt, as runs and as figures see them."""

import pytest
import torch

from ltaug import stages
from ltaug.data.load import load_dataset
from ltaug.figures.inputs import open_subjects
from ltaug.machine import Machine
from ltaug.options import DatasetOptions
from ltaug.runtime import Runtime

DATASET = {"dataset": "digits", "imbalance": 10, "head": 20}
CPU = Machine(device="cpu", threads=1)
FITS = {
    "ddpm": {"objective": "ddpm"},
    "tau-1": {"objective": "cbdm"},
    "tau-3": {"objective": "cbdm", "tau": 3.0},
    "mirrored": {"objective": "ddpm", "flip": True, "preconditioning": "edm"},
}


@pytest.fixture(scope="session")
def cpu():
    return Runtime(torch.device("cpu"), None)


@pytest.fixture(scope="session")
def fit(tmp_path_factory):
    """Fit a generator for a few steps; returns its run."""
    folder = tmp_path_factory.mktemp("generators")

    def fit(name, *, dataset=DATASET, seed=1, **options):
        given = {"steps": 12, "channels": 8, "batch_size": 16, "warmup": 2, "lr": 5e-3, "ema": 0.5} | options
        return stages.fit_generator(dataset, given, out=folder / name, seed=seed, machine=CPU)

    return fit


@pytest.fixture(scope="session")
def runs(fit):
    """Runs by name; all of the same training images."""
    return {name: fit(name, **options) for name, options in FITS.items()}


@pytest.fixture(scope="session")
def subjects(runs, cpu):
    """The same, opened."""
    return dict(zip(runs, open_subjects(list(runs.values()), runtime=cpu), strict=True))


@pytest.fixture(scope="session")
def data():
    return load_dataset(DatasetOptions(**DATASET), seed=1)
