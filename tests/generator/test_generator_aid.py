"""AID against the formula in NumPy, with the centroids and widths of --select-diffult, and fits with a judge."""

import dataclasses

import numpy as np
import pytest
import torch
from fake_judge import toy_judged

from ltaug import fit_generator
from ltaug.classifier.judge import Judge
from ltaug.classifier.models import build_model
from ltaug.data.imageset import ImageSet
from ltaug.errors import MismatchError, OptionError
from ltaug.generator.denoiser import Denoised
from ltaug.generator.fit import TrainingData, build_trainee, draw_batch, train_step
from ltaug.generator.objectives.aid import AID
from ltaug.generator.objectives.terms import Batch, Judged
from ltaug.machine import Machine
from ltaug.options import GeneratorOptions, fit_judges_needed
from ltaug.records import GeneratorRecord
from ltaug.runs import read_run
from ltaug.runtime import Runtime
from ltaug.stages import estimate
from ltaug.stages.generator import judged_by
from ltaug.synthesis.places import fit_centroids, widths_of

CPU = Machine(device="cpu", threads=1)
NULL = 3
DIGITS = {"dataset": "digits", "imbalance": 20, "head": 20}
GIVEN = {"objective": "cbdm+aid", "steps": 4, "batch_size": 6, "channels": 8, "checkpoint_every": 2}


def batch_of(x0, classes, *, sigma, labels=None):
    ones = torch.ones(len(x0))
    labels = classes if labels is None else labels
    return Batch(x0, torch.zeros_like(x0), sigma, ones, labels, classes, ones)


def denoised(x0):
    return Denoised(x0, torch.zeros_like(x0), torch.zeros(len(x0), 1, 1, 1))


def pixels(places, widths):
    """A judge whose features are the pixels."""
    return Judged(lambda x: x.flatten(1), torch.tensor(places), torch.tensor(widths))


def test_values_are_the_hinge_of_the_judges_distances_in_numpy():
    rng, judged = np.random.default_rng(0), toy_judged()
    x0 = torch.from_numpy(rng.normal(0, 1, (40, 1, 8, 8)) * rng.uniform(0, 2, (40, 1, 1, 1))).float()
    classes = torch.from_numpy(rng.integers(0, 3, 40))
    sigma = torch.from_numpy(rng.uniform(0, 1, 40)).float()
    labels = torch.where(torch.from_numpy(rng.random(40) < 0.3), NULL, classes)
    batch = batch_of(torch.zeros_like(x0), classes, sigma=sigma, labels=labels)
    found = AID(torch.ones(3), judged=judged, weight=0.7, below=0.6)(denoised(x0), None, batch, None).numpy()
    d = np.linalg.norm(judged.look(x0).numpy() - judged.centroids.numpy()[classes], axis=1)
    d_y = judged.widths.numpy()[classes]
    expected = 0.7 * (np.maximum(d_y - d, 0) ** 2 + np.maximum(d - 2 * d_y, 0) ** 2) / d_y**2
    expected[(sigma.numpy() > 0.6) | (labels == NULL).numpy()] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found > 0).sum() > 5
    assert ((d > 2 * d_y) & (found > 0)).any()
    assert ((d < d_y) & (found > 0)).any()


def test_an_image_moves_to_the_nearer_end_of_its_classs_band_and_no_further():
    judged = pixels([[0.0, 0.0], [1.0, 0.0]], [2.0, 1.0])
    x0 = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 5.0], [1.0, 0.5], [1.0, 0.0]])[:, None, None].requires_grad_()
    classes = torch.tensor([0, 0, 0, 1, 1])
    values = AID(torch.ones(2), judged=judged, weight=1.0)(
        denoised(x0), None, batch_of(x0.detach(), classes, sigma=torch.full((5,), 0.5)), None
    )
    torch.testing.assert_close(values, torch.tensor([0.25, 0.0, 0.25, 0.25, 1.0]))
    values.sum().backward()
    # 2 (u - bound) / d_y along the ray from the centroid; none at the centroid itself, where every way is as far.
    expected = torch.tensor([[-0.5, 0.0], [0.0, 0.0], [0.0, 0.5], [0.0, -1.0], [0.0, 0.0]])
    torch.testing.assert_close(x0.grad[:, 0, 0], expected)


def test_the_scale_of_features_does_not_matter():
    small = toy_judged()
    large = Judged(lambda x: 100 * small.look(x), 100 * small.centroids, 100 * small.widths)
    x0 = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = batch_of(x0, torch.arange(12) % 3, sigma=torch.full((12,), 0.1))
    values = [AID(torch.ones(3), judged=judged)(denoised(x0), None, batch, None) for judged in (small, large)]
    torch.testing.assert_close(*values)


def test_images_that_do_not_count_have_no_value_and_no_gradient_even_where_no_judge_could_look():
    judged = pixels([[0.0, 0.0]], [float("inf")])
    x0 = torch.full((3, 1, 1, 2), float("inf"), requires_grad=True)
    classes = torch.zeros(3, dtype=torch.long)
    batch = batch_of(torch.zeros(3, 1, 1, 2), classes, sigma=torch.tensor([0.1, 9.0, 0.1]), labels=torch.tensor([0, 0, NULL]))
    for now in (judged, dataclasses.replace(judged, widths=torch.ones(1))):
        values = AID(torch.ones(1), judged=now)(denoised(x0), None, batch, None)
        (gradient,) = torch.autograd.grad(values[1:].sum() if now is not judged else values.sum(), x0)
        assert values[1:].tolist() == [0, 0]
        assert gradient[1:].abs().max() == 0
    assert AID(torch.ones(1), judged=judged)(denoised(x0), None, batch, None)[0] == 0


def test_a_class_with_a_single_image_has_the_median_width_of_the_others_as_the_rule_has_it():
    torch.manual_seed(0)
    model = build_model("resnet8", num_classes=3, image_shape=(1, 8, 8)).eval()
    judge = Judge(model, ("a", "b", "c"), (1, 8, 8), "", np.zeros(3, np.float32), Runtime(torch.device("cpu"), None))
    images = np.random.RandomState(0).randint(0, 256, (10, 1, 8, 8)).astype(np.uint8)
    train = ImageSet(images, np.repeat(np.arange(3), [6, 3, 1]), ("a", "b", "c"), "tiny")
    judged = judged_by([judge, judge], train)
    features = np.concatenate([judge.features(images)] * 2, axis=1)
    np.testing.assert_allclose(judged.centroids, fit_centroids(features, train.labels, num_classes=3).places)
    np.testing.assert_allclose(judged.widths, widths_of(features, train.labels, num_classes=3))
    assert judged.widths[2] == judged.widths[:2].quantile(0.5)
    x = (torch.from_numpy(images).float() / 127.5 - 1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):  # as in a fit in bfloat16
        looked = judged.look(x)
    np.testing.assert_allclose(looked.detach().numpy(), features, rtol=1e-4, atol=1e-5)
    looked.sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters()), "the judge is frozen"


def test_steps_on_the_term_alone_bring_expected_images_into_the_band(tiny_set, tiny_options, cpu):
    options = dataclasses.replace(
        tiny_options, objective="aid", aid_weight=100.0, aid_below=100.0, batch_size=32, lr=3e-3, dropout=0.0
    )
    trainee = build_trainee(options, tiny_set, seed=0, device=cpu.device, judged=toy_judged())
    batch = draw_batch(TrainingData.on(cpu.device, tiny_set), options, trainee.denoiser, step=0, seed=0)
    values = [train_step(trainee, batch, options, cpu, step=step)["aid"].item() for step in range(30)]
    assert 0 < values[-1] < 0.7 * values[0]


@pytest.mark.parametrize(("objective", "needed"), [("ddpm", 0), ("cbdm+coral", 0), ("aid", 1), ("cbdm+coral+aid", 1)])
def test_judges_are_trained_or_named_for_the_term_alone(objective, needed):
    assert fit_judges_needed({"objective": objective}) == needed
    if needed:
        assert fit_judges_needed({"objective": objective}, ["run"]) == 1
        with pytest.raises(OptionError, match=rf"--augment ada does not go with --objective {objective.replace('+', '.')}: aid"):
            GeneratorOptions(objective=objective, augment="ada")
        return
    with pytest.raises(OptionError, match=rf"--judge is read only with --objective {objective.replace('+', '.')}\+aid"):
        fit_judges_needed({"objective": objective}, ["run"])


def test_a_fit_trains_its_judge_records_it_and_goes_on_with_it(tmp_path):
    told = {"machine": CPU, "seed": 3}

    def interrupt(event):
        if event.text == "training the generator" and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_generator(DIGITS, GIVEN, out=tmp_path / "gen", listener=interrupt, **told)
    judge = tmp_path / "gen.judges" / "judge-0"
    before = read_run(judge)
    assert before["status"] == "finished"
    fit_generator(DIGITS, GIVEN, out=tmp_path / "gen", **told)
    assert read_run(judge) == before
    record = GeneratorRecord.read(tmp_path / "gen", finished=True)
    assert [run.digest for run in record.judge_runs] == [before["outputs"]["weights.safetensors"]]
    assert [run.path for run in record.judges()] == [judge.resolve()]
    assert record.train_digest == record.judges()[0].train_digest

    named = fit_generator(DIGITS, GIVEN, judges=[judge], out=tmp_path / "named", **told)
    assert not (tmp_path / "named.judges").exists()
    assert read_run(named)["outputs"] == read_run(tmp_path / "gen")["outputs"]

    tuned = fit_generator({}, {**GIVEN, "steps": 2}, source=named, judges=[judge], out=tmp_path / "tuned", machine=CPU)
    assert [run.digest for run in GeneratorRecord.read(tuned).judge_runs] == [run.digest for run in record.judge_runs]
    with pytest.raises(MismatchError, match="judge-0 was trained on other images"):
        fit_generator(DIGITS, GIVEN, judges=[judge], out=tmp_path / "other", seed=4, machine=CPU)
    assert not (tmp_path / "other").exists()


def test_what_a_fit_with_a_judge_takes_is_measured_without_training_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = estimate("fit-generator", DIGITS, GIVEN, machine=CPU)
    assert found["seconds_per_step"] > 0
    assert "judge" in found["uncounted"]
    assert "uncounted" not in estimate("fit-generator", DIGITS, {**GIVEN, "objective": "ddpm"}, machine=CPU)
    assert not list(tmp_path.iterdir())
