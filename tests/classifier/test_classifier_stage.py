"""The stage and the judge: what a finished run holds, that it repeats byte for byte, and that it can be used again."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from ltaug.classifier.judge import Judge
from ltaug.classifier.stage import run_classifier
from ltaug.data.imageset import ImageSet
from ltaug.errors import CorruptError, DataError, MismatchError, OptionError
from ltaug.fields import resolve
from ltaug.metrics.recognition import recognition
from ltaug.options import ClassifierOptions
from ltaug.runs import open_run, read_run
from ltaug.runtime import make_runtime

CPU = make_runtime("cpu")


def noise(counts, *, seed=0, side=8, names=("ant", "bee", "cat")):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 1, side, side), dtype=np.uint8)
    return ImageSet(images, labels, names, "noise")


TRAIN, TEST, MADE = noise([30, 10, 3]), noise([5, 5, 5], seed=1), noise([0, 10, 20], seed=2)


def train_classifier(path, *, train=TRAIN, test=TEST, synthetic=MADE, seed=0, **given):
    options = resolve(ClassifierOptions, {"steps": 6, "batch_size": 16, "augment": "shift"} | given, image_side=8)
    with open_run(
        path,
        stage="train-classifier",
        label="clf",
        seed=seed,
        options={"train-classifier": dataclasses.asdict(options)},
        inputs={"train": {"source": train.source, "digest": train.digest}},
        versions={},
        device=CPU.describe(),
    ) as run:
        run_classifier(train, test, synthetic, options, run=run, runtime=CPU, seed=seed)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train_classifier(tmp_path_factory.mktemp("stage") / "clf")


def test_a_finished_run_holds_weights_predictions_and_metrics_that_agree(finished):
    record = read_run(finished, stage="train-classifier", finished=True)
    assert sorted(record["outputs"]) == ["metrics.json", "predictions.npz", "weights.safetensors"]
    assert record["facts"]["class_counts"] == [30, 10, 3]
    assert record["facts"]["synthetic_counts"] == [0, 10, 20]
    assert set(record["timings"]) == {"warm-up", "fit", "evaluate"}
    with np.load(finished / "predictions.npz") as saved:
        labels, found, names = saved["labels"], saved["probabilities"], saved["class_names"]
    assert found.dtype == np.float32
    assert found.sum(1) == pytest.approx(1)
    assert list(names) == ["ant", "bee", "cat"]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["summary"] == recognition(labels, found, groups=metrics["groups"])
    assert np.sum(metrics["confusion"]) == 15
    assert metrics["class_names"] == ["ant", "bee", "cat"]
    assert record["facts"]["groups"] == metrics["groups"] == {"many": [0], "medium": [1], "few": [2]}
    assert record["facts"]["rule"] == metrics["rule"]
    losses = [json.loads(line)["loss"] for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 6


def test_a_judge_is_loaded_with_the_head_it_was_trained_with(tmp_path):
    path = train_classifier(tmp_path / "ldam", loss="ldam")
    judge = Judge.load(path, runtime=CPU)
    assert type(judge.model.fc).__name__ == "CosineHead"
    with np.load(path / "predictions.npz") as saved:
        assert np.array_equal(judge.probabilities(TEST.images), saved["probabilities"])


def test_the_same_run_twice_gives_equal_files_and_another_seed_does_not(finished, tmp_path):
    again = read_run(train_classifier(tmp_path / "again"))["outputs"]
    assert again == read_run(finished)["outputs"]
    other = read_run(train_classifier(tmp_path / "other", seed=1))["outputs"]
    assert other["weights.safetensors"] != again["weights.safetensors"]


def test_a_classifier_that_diverged_is_refused_with_its_learning_rate(tmp_path):
    with pytest.raises(OptionError, match=r"diverged with --lr 1e\+08: .* use a smaller --lr"):
        train_classifier(tmp_path / "clf", lr=1e8)
    assert not (tmp_path / "clf/metrics.json").exists()


def test_a_judge_gives_the_runs_own_probabilities_and_draws_nothing(finished):
    state = torch.get_rng_state()
    judge = Judge.load(finished, runtime=CPU)
    with np.load(finished / "predictions.npz") as saved:
        assert np.array_equal(judge.probabilities(TEST.images), saved["probabilities"])
    assert np.array_equal(judge.probabilities(torch.from_numpy(TEST.images)), judge.probabilities(TEST.images))
    assert torch.equal(state, torch.get_rng_state())
    assert (judge.class_names, judge.image_shape) == (("ant", "bee", "cat"), (1, 8, 8))
    assert judge.digest == read_run(finished)["outputs"]["weights.safetensors"]


def test_a_judges_features_are_what_its_last_layer_turns_into_probabilities(finished):
    judge = Judge.load(finished, runtime=CPU)
    found = judge.features(TEST.images)
    assert found.shape == (15, 64)
    assert found.dtype == np.float32
    logits = torch.from_numpy(found) @ judge.model.fc.weight.T + judge.model.fc.bias
    np.testing.assert_allclose(logits.softmax(1).detach().numpy(), judge.probabilities(TEST.images), atol=1e-5)
    assert judge.features(TEST.images[:0]).shape == (0, 64)


def test_a_judge_refuses_images_of_another_shape_and_damaged_or_foreign_runs(finished, tmp_path):
    with pytest.raises(MismatchError, match=r"\(1, 9, 9\)"):
        Judge.load(finished, runtime=CPU).features(np.zeros((1, 1, 9, 9), np.uint8))
    broken = train_classifier(tmp_path / "broken")
    weights = bytearray((broken / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (broken / "weights.safetensors").write_bytes(weights)
    with pytest.raises(CorruptError, match="damaged"):
        Judge.load(broken, runtime=CPU)
    with pytest.raises(CorruptError, match="missing"):
        Judge.load(tmp_path, runtime=CPU)


@pytest.mark.parametrize(
    ("test", "error"),
    [
        (noise([0, 0, 0]), DataError),
        (noise([2, 2, 2], side=9), MismatchError),
        (noise([2, 2, 2], names=("ant", "bee", "dog")), MismatchError),
    ],
)
def test_a_test_set_that_does_not_belong_is_refused_before_training(test, error, tmp_path):
    with pytest.raises(error):
        train_classifier(tmp_path / "clf", test=test)
    assert not (tmp_path / "clf" / "run.json").exists(), "the corrected command may have the directory"
