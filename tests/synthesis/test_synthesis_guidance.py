"""What judges say of how images are made: criteria by hand, the distance of covariances, the guidance that it chooses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from making import CPU, NAMES, HalfJudge, files, synthesize, together

from ltaug.classifier.judge import Judge
from ltaug.classifier.models import build_model
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.generator import generate as generated
from ltaug.generator.batching import BatchSize
from ltaug.generator.generate import GeneratedImages
from ltaug.generator.sampling import Sampling
from ltaug.manifest import read_manifest, read_synthetic
from ltaug.methods import CRITERIA
from ltaug.options import SynthesisOptions, judges_needed
from ltaug.runs import read_run
from ltaug.synthesis import guidance
from ltaug.synthesis.guidance import covariance_distance, criterion_of, guidance_distances
from ltaug.synthesis.select import Real

BUDGET = {"cat": 9, "..": 8}


class LinearJudge(HalfJudge):
    """Logits that are linear in the image's pixels."""

    def __init__(self, seed=0):
        self.weight = torch.from_numpy(np.random.RandomState(seed).randn(64, 3).astype(np.float32)) / 8

    def logits(self, x):
        return x.flatten(1) @ self.weight


def test_criteria_are_the_judges_mean_cross_entropy_and_entropy():
    logits = np.array([[1.0, 0.0, -2.0], [0.5, 0.5, 0.5]])
    judges = [SimpleNamespace(logits=lambda x, k=k: torch.from_numpy(k * logits)) for k in (1, 3)]
    labels = torch.tensor([2, 1])
    found = {name: criterion_of(name, judges)(torch.zeros(2, 1, 1, 1), labels).numpy() for name in CRITERIA}
    p = [np.exp(k * logits) / np.exp(k * logits).sum(1, keepdims=True) for k in (1, 3)]
    np.testing.assert_allclose(found["loss"], np.mean([-np.log(q[[0, 1], [2, 1]]) for q in p], axis=0))
    np.testing.assert_allclose(found["entropy"], np.mean([-(q * np.log(q)).sum(1) for q in p], axis=0))
    assert found["entropy"][1] == pytest.approx(np.log(3))


def test_the_entropy_of_a_certain_judge_and_its_gradient_are_finite():
    x = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    found = CRITERIA["entropy"](x, torch.tensor([0]))
    found.sum().backward()
    assert found.item() == 0
    assert x.grad.tolist() == [[0, 0]]


def test_a_judges_logits_are_those_of_its_probabilities_and_lead_back_to_the_image():
    torch.manual_seed(0)
    model = build_model("resnet8", num_classes=3, image_shape=(1, 8, 8)).eval()
    bf16 = CPU.__class__(torch.device("cpu"), torch.bfloat16)
    judge = Judge(model, NAMES, (1, 8, 8), "", np.zeros(3, np.float32), bf16)
    images = np.random.RandomState(0).randint(0, 256, (4, 1, 8, 8)).astype(np.uint8)
    x = (torch.from_numpy(images).float() / 127.5 - 1).requires_grad_()
    with bf16.autocast():  # as while images are sampled in it
        logits = judge.logits(x)
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.softmax(1).detach().numpy(), judge.probabilities(images), rtol=1e-4)
    logits.sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("start", ["noise", "real"])
def test_guided_images_are_others_harder_and_the_same_whoever_shares_them(criterion, start, generator, real, tmp_path):
    judge = LinearJudge()
    wanted = {"budget": BUDGET, "judges": [judge], "start": start, "sample_steps": 6, "sampler": "ddim"}
    steered = {**wanted, "guide": criterion, "guide_scale": 0.1, "guide_every": 2}
    synthesize(tmp_path / "plain", generator, real, **wanted)
    synthesize(tmp_path / "one", generator, real, **steered, sample_batch=5)
    together(tmp_path / "two", generator, real, 2, **steered, sample_batch=4)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    hard = []
    for run in ("plain", "one"):
        images = torch.from_numpy(read_synthetic(tmp_path / run).images).float() / 127.5 - 1
        labels = torch.tensor([NAMES.index(row.class_) for row in read_manifest(tmp_path / run)])
        hard.append(criterion_of(criterion, [judge])(images, labels).mean().item())
    assert hard[1] > hard[0]


def test_the_distance_of_covariances_knows_no_means():
    rng = np.random.RandomState(0)
    a = rng.randn(4000, 3)
    a = (a - a.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(a.T))).T  # covariance 1
    b = a * [2.0, 0.5, 1.0] + [9.0, -5.0, 3.0]
    assert covariance_distance(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(
        (2 - 1) ** 2 + (1 - 0.5) ** 2, rel=1e-4
    )
    assert covariance_distance(a.astype(np.float32), (a + 7).astype(np.float32)) == pytest.approx(0, abs=1e-4)


class Painted:
    """A generator whose images vary the less, the more it is guided: real ones have the variation of guidance 1."""

    image_shape = (1, 8, 8)
    denoiser = None

    @staticmethod
    def generate(denoiser, keys, *, sampling, seed, **how):
        Painted.asked.append((tuple(keys), seed))
        noise = np.random.RandomState(1).randn(len(keys), 1, 8, 8)
        return (127 + 40 / (0.5 + sampling.guidance) * noise).clip(0, 255).round().astype(np.uint8)


@pytest.fixture
def painted(monkeypatch):
    Painted.asked = []
    monkeypatch.setattr(generated, "generate", Painted.generate)
    return GeneratedImages(Painted(), Sampling(), BatchSize(8), 3, CPU)


def real_like_guidance_one(counts):
    labels = np.repeat(np.arange(3), counts)
    images = Painted.generate(None, labels, sampling=Sampling(guidance=1.0), seed=0)
    Painted.asked.clear()
    return Real(ImageSet(images, np.random.RandomState(0).permutation(labels), NAMES, "real"), [HalfJudge()])


def test_the_strength_whose_images_vary_as_real_ones_is_nearest(painted):
    real = real_like_guidance_one([50, 30, 7])
    found = guidance_distances(painted, real, (0.0, 0.5, 1.0, 2.0, 4.0))
    assert min(found, key=found.get) == 1.0
    assert found[1.0] == pytest.approx(0, abs=0.5)
    assert found[0.0] > found[0.5] > found[1.0] < found[2.0] < found[4.0]


@pytest.mark.parametrize("most", [500, 29])
def test_classes_are_tried_as_often_as_they_are_trained_on_and_from_the_same_noise(most, painted, monkeypatch):
    monkeypatch.setattr(guidance, "TRIED", most)
    guidance_distances(painted, real_like_guidance_one([50, 30, 7]), (0.0, 1.0))
    (keys, seed), again = Painted.asked
    assert again == (keys, seed)
    assert seed != painted.seed
    counts = [sum(c == k for c, _ in keys) for k in range(3)]
    assert counts == [50, 30, 7] if most == 500 else np.abs(np.array(counts) - np.array([50, 30, 7]) / 3).max() <= 1
    assert all([i for c, i in keys if c == k] == list(range(counts[k])) for k in range(3))


@pytest.mark.parametrize("world", [1, 2])
def test_the_chosen_guidance_is_used_said_and_noted_with_the_whole_table(world, generator, real, tmp_path, monkeypatch):
    table = {0.5: 3.0, 1.5: 0.25, 3.0: 0.75}
    calls = []

    def made_up(generated, real, strengths):
        calls.append(strengths)
        return {w: table[w] for w in strengths}

    monkeypatch.setattr(guidance, "guidance_distances", made_up)
    wanted = {"budget": BUDGET, "judges": [HalfJudge()]}
    said = together(tmp_path / "s", generator, real, world, **wanted, choose_guidance=(0.5, 1.5, 3.0))
    assert calls == [(0.5, 1.5, 3.0)], "one process decides for all"
    facts = read_run(tmp_path / "s")["facts"]
    assert facts["guidance"] == {"chosen": 1.5, "distances": {"0.5": 3.0, "1.5": 0.25, "3": 0.75}}
    sentence = "Guidance 1.5 is chosen: distances to the covariances of real images by guidance are 0.5: 3, 1.5: 0.25, 3: 0.75."
    assert [sentence in texts for texts in said].count(True) == 1
    synthesize(tmp_path / "given", generator, real, **wanted, guidance=1.5)
    assert files(tmp_path / "s") == files(tmp_path / "given")


def test_guidance_is_not_chosen_again_after_an_interruption(generator, real, tmp_path, monkeypatch):
    wanted = {"budget": BUDGET, "judges": [HalfJudge()], "choose_guidance": (0.0, 2.0)}
    synthesize(tmp_path / "whole", generator, real, **wanted)
    assert len(read_run(tmp_path / "whole")["facts"]["guidance"]["distances"]) == 2
    generate, choose = generated.generate, guidance.guidance_distances
    made = []

    def dies(*args, **kwargs):
        made.append(1)
        if len(made) == 4:  # two to choose from, one round
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    monkeypatch.setattr(generated, "generate", dies)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "cut", generator, real, **wanted)
    monkeypatch.setattr(guidance, "guidance_distances", lambda *args: pytest.fail("chosen again"))
    synthesize(tmp_path / "cut", generator, real, **wanted)
    monkeypatch.setattr(guidance, "guidance_distances", choose)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.parametrize("own", [{"guide": "loss"}, {"choose_guidance": (0.0, 1.0)}])
def test_what_asks_judges_is_refused_without_any(own, generator, real, tmp_path):
    with pytest.raises(OptionError, match=f"--{next(iter(own)).replace('_', '-')}.* needs? judges"):
        synthesize(tmp_path / "s", generator, real, budget=BUDGET, **own)
    assert judges_needed(own) == SynthesisOptions.judges


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"guidance": 1.0, "choose_guidance": (0.0, 1.0)}, r"--guidance 1\.0 is read only with no --choose-guidance"),
        ({"guide_scale": 0.1}, r"--guide-scale 0\.1 is read only with --guide loss or entropy \(it is none\)"),
        ({"guide": "los"}, "did you mean 'loss'"),
        ({"guide": "loss", "guide_every": 0}, "guide-every = 0 must be at least 1"),
        ({"choose_guidance": (0.0, -1.0)}, "must be at least 0"),
        ({"guidance_interval": (0.2, 0.7)}, "read only with --guidance above 0 or --choose-guidance"),
    ],
)
def test_options_that_nobody_reads_are_refused(given, said):
    with pytest.raises(OptionError, match=said):
        resolve(SynthesisOptions, given, image_side=8)
