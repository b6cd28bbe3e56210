"""A generator of digits that has barely learnt, and a classifier of the set its training images were drawn from."""

import pytest

from ltaug import stages
from ltaug.machine import Machine

DATASET = {"dataset": "digits", "imbalance": 20, "head": 30, "class_order": "shuffled"}
CPU = Machine(device="cpu", threads=1)


@pytest.fixture(scope="session")
def long_tail():
    """The dataset options of the generator."""
    return DATASET


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """The run of a generator of long-tailed digits."""
    out = tmp_path_factory.mktemp("runs") / "gen"
    options = {"steps": 30, "channels": 8, "batch_size": 32, "warmup": 5}
    return stages.fit_generator(DATASET, options, out=out, seed=1, machine=CPU)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """The run of a classifier of all digits."""
    out = tmp_path_factory.mktemp("runs") / "clf"
    return stages.train_classifier({"dataset": "digits"}, {"steps": 30}, out=out, machine=CPU)


@pytest.fixture
def evaluate(fitted, classifier, tmp_path):
    """Evaluate the generator with few steps and images; returns the run."""

    def evaluate(name="eval", *, generator=fitted, seed=None, **given):
        given = {"extractor": f"classifier:{classifier}", "samples": 40, "sample_steps": 2, "pairs": 12} | given
        return stages.evaluate_generator(generator, given, out=tmp_path / name, seed=seed, machine=CPU)

    return evaluate
