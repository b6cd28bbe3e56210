"""A second stage, soft labels and one prior for the merged set: each against its formula, and what it must leave alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import make_pool
from ltaug.classifier.fit import batches_of, fit_classifier
from ltaug.classifier.judge import Judge
from ltaug.classifier.models import LAST_STAGES, build_model, part_of
from ltaug.classifier.phases import build_for, build_learner, phases_of, smoothing_of, total_steps
from ltaug.classifier.teachers import Ensemble, distillation
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.methods import MODELS
from ltaug.options import ClassifierOptions
from ltaug.runtime import make_runtime

CPU = make_runtime("cpu")


def stripes(counts, *, seed=0):
    """Noisy images whose class is the column that is bright."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.random.default_rng(seed).integers(0, 120, (len(labels), 1, 8, 8), dtype=np.uint8)
    images[np.arange(len(labels)), :, :, 2 * labels + 1] = 250
    return ImageSet(images, labels, tuple("abc"[: len(counts)]), "stripes")


TRAIN, MADE = stripes([40, 12, 4]), stripes([0, 20, 30], seed=1)


def options_for(**given):
    return resolve(ClassifierOptions, {"steps": 10, "batch_size": 16, **given}, image_side=8)


def teacher(seed=0, *, log_prior=(0.0, 0.0, 0.0), model=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = model or build_model("resnet8", num_classes=3, image_shape=(1, 8, 8))
    return Judge(network.eval(), tuple("abc"), (1, 8, 8), "", np.array(log_prior, np.float32), CPU)


def fit(*, synthetic=MADE, teachers=(), train=TRAIN, **given):
    options = options_for(**given)
    return fit_classifier(train, options, synthetic=synthetic, teachers=teachers, seed=0, runtime=CPU)[0]


def weights_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


class Says(nn.Module):
    """A teacher that says the same logits of every image."""

    def __init__(self, *logits):
        super().__init__()
        self.said = torch.tensor(logits)

    def forward(self, images):
        return self.said.expand(len(images), -1)


def softmax(z):
    shares = np.exp(z - z.max())
    return shares / shares.sum()


BATCH = torch.zeros(2, 1, 8, 8)


def test_soft_labels_are_the_mean_of_the_teachers_shares_to_a_power():
    one, other = np.array([2.0, -1.0, 0.5]), np.array([0.0, 3.0, -2.0])
    pair = [teacher(model=Says(*one)), teacher(model=Says(*other))]
    mean = (softmax(one / 2) + softmax(other / 2)) / 2
    assert Ensemble.of(pair, temperature=2.0, power=1.0)(BATCH)[0].numpy() == pytest.approx(mean, rel=1e-6)
    expected = mean**0.5 / (mean**0.5).sum()
    assert Ensemble.of(pair, temperature=2.0, power=0.5)(BATCH)[1].numpy() == pytest.approx(expected, rel=1e-6)


def test_teachers_that_agree_are_one_teacher_and_a_low_temperature_makes_them_vote():
    one = teacher(model=Says(2.0, -1.0, 0.5))
    alone, three = (Ensemble.of([one] * n, temperature=2.0, power=1.0)(BATCH) for n in (1, 3))
    assert torch.allclose(alone, three)
    votes = Ensemble.of([one, one, teacher(model=Says(0.0, 3.0, 1.0))], temperature=0.05, power=1.0)(BATCH)
    assert votes[0].numpy() == pytest.approx([2 / 3, 1 / 3, 0], abs=1e-6)


def test_the_class_prior_that_a_teacher_has_learnt_is_taken_out_of_what_it_says():
    prior = np.log([0.7, 0.2, 0.1])
    balanced, biased = np.array([1.0, 0.0, 2.0]), np.array([1.0, 0.0, 2.0]) + prior
    plain = Ensemble.of([teacher(model=Says(*balanced))], temperature=2.0, power=1.0)(BATCH)
    corrected = Ensemble.of([teacher(model=Says(*biased), log_prior=prior)], temperature=2.0, power=1.0)(BATCH)
    assert torch.allclose(plain, corrected, atol=1e-6)


def test_distillation_is_t_squared_times_the_divergence_with_its_gradient():
    logits, soft = torch.tensor([[1.0, -0.5, 0.2]], requires_grad=True), torch.tensor([[0.2, 0.5, 0.3]])
    value = distillation(logits, soft, temperature=2.0)
    q, p = soft[0].numpy(), softmax(logits[0].detach().numpy() / 2)
    assert value.item() == pytest.approx(4 * (q * np.log(q / p)).sum(), rel=1e-5)
    value.sum().backward()
    assert logits.grad[0].numpy() == pytest.approx(2 * (p - q), rel=1e-5)
    assert distillation(logits, logits.div(2).softmax(1), temperature=2.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("distill", "shares"), [("synthetic", (0.0, 0.4)), ("real", (0.4, 0.0)), ("all", (0.4, 0.4))])
def test_a_loss_is_mixed_with_distillation_for_the_images_that_learn_from_teachers(distill, shares):
    options = options_for(distill=distill, distill_weight=0.4, lr=0.0, augment="none")
    (phase,), pool = phases_of(TRAIN, MADE, options, seed=0), make_pool(TRAIN, MADE, device=CPU.device)
    learner = build_learner(build_model("resnet8", num_classes=3, image_shape=(1, 8, 8)), phase, pool, CPU, teachers=[teacher()])
    assert learner.soft_shares.tolist() == pytest.approx(shares)
    logits, soft = torch.randn(4, 3), torch.rand(4, 3).softmax(1)
    labels, sources = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 0])
    batch = phase_batch(pool, labels, sources)
    hard = nn.functional.cross_entropy(logits, labels, reduction="none")
    share = torch.tensor(shares)[sources]
    expected = ((1 - share) * hard + share * distillation(logits, soft, temperature=2.0)).mean()
    assert learner._value(logits, soft, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def phase_batch(pool, labels, sources):
    from ltaug.classifier.batches import Batch

    return Batch(torch.zeros(len(labels), 1, 8, 8), labels, sources, pool.class_counts)


@pytest.mark.parametrize("given", [{}, {"refit": "head", "refit_share": 0.99, "refit_fusion": 0.25}], ids=["joint", "fused"])
def test_teachers_see_the_images_that_their_student_sees(given):
    seen = []

    class Watching(Says):
        def forward(self, images):
            seen.append(images.clone())
            return super().forward(images)

    fit(steps=2, distill="all", augment="shift", teachers=[teacher(model=Watching(0.0, 0.0, 0.0))], **given)
    stored = {image.tobytes() for image in np.concatenate([TRAIN.images, MADE.images])}
    shown = [((image + 1) * 127.5).round().to(torch.uint8).numpy().tobytes() for batch in seen for image in batch]
    assert len(shown) == 32
    assert sum(image in stored for image in shown) < 16


def test_without_teachers_distillation_is_refused_and_real_images_alone_have_none_of_synthetic_ones():
    with pytest.raises(OptionError, match="--distill all needs teachers"):
        fit(distill="all")
    plain, taught = fit(synthetic=None), fit(synthetic=None, distill="synthetic", teachers=[teacher()])
    assert all(torch.equal(a, b) for a, b in zip(weights_of(plain).values(), weights_of(taught).values(), strict=True))


def test_a_second_stage_takes_its_share_of_the_steps_and_adds_none():
    joint, again = phases_of(TRAIN, MADE, options_for(refit="last", refit_share=0.2, loss="ce"), seed=0)
    assert (joint.first, joint.last, again.first, again.last) == (0, 8, 8, 10)
    assert total_steps(TRAIN, options_for(refit="last")) == 10
    assert (joint.options.loss, again.options.loss, again.options.schedule) == ("ce", "logit-adjusted", "cosine")
    assert joint.plan.synthetic == len(MADE)
    assert again.plan.synthetic == 0


@pytest.mark.parametrize("part", ["head", "last", "all"])
def test_a_second_stage_changes_its_part_of_the_network_and_nothing_else(part):
    first = {"steps": 8, "schedule": "step", "warmup": 0.0}  # constant rate for these steps, as in the first 8 of 10
    before, after = fit(**first), fit(**{**first, "steps": 10}, refit=part, refit_share=0.2, refit_lr=0.1)
    trained = {id(parameter) for module in part_of(after, part) for parameter in module.parameters()}
    names = {name for name, parameter in after.named_parameters() if id(parameter) in trained}
    old, new = weights_of(before), weights_of(after)
    frozen = [name for name, _ in after.named_parameters() if name not in names]
    assert all(torch.equal(old[name], new[name]) for name in frozen)
    assert all(not torch.equal(old[name], new[name]) for name in names)
    assert bool(frozen) == (part != "all")
    if part == "head":  # nor do the statistics of batch norm move
        assert all(torch.equal(old[name], new[name]) for name in old if "running" in name)


def test_a_second_stage_on_real_images_sees_no_synthetic_one():
    def heads(synthetic):
        return weights_of(fit(steps=4, refit="all", refit_share=0.99, synthetic=synthetic))

    one, other = heads(MADE), heads(stripes([0, 20, 30], seed=2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("fusion", [0.0, 0.25])
def test_a_fit_that_is_stopped_in_its_second_stage_ends_as_one_that_is_not(fusion, tmp_path):
    options = options_for(steps=12, refit="last", refit_share=0.5, refit_fusion=fusion, augment="shift")

    def fitted(**how):
        return fit_classifier(TRAIN, options, synthetic=MADE, seed=0, runtime=CPU, **how)[0]

    for stop_at in (5, 6, 9):  # in the first stage, at its end, in the second

        def stop(step, total, values, at=stop_at):
            if step == at + 1:
                raise KeyboardInterrupt

        where = tmp_path / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            fitted(checkpoints=where, checkpoint_every=stop_at, on_step=stop)
        resumed, whole = fitted(checkpoints=where, checkpoint_every=stop_at), fitted()
        assert all(torch.equal(a, b) for a, b in zip(weights_of(resumed).values(), weights_of(whole).values(), strict=True))


@pytest.mark.parametrize("loss", ["ce", "logit-adjusted", "balanced-softmax", "ldam", "proco"])
def test_labels_are_smoothed_evenly_with_every_loss_also_where_a_source_lacks_a_class(loss):
    options = options_for(label_smoothing=0.3, loss=loss, refit="head", refit_loss="ce", augment="mixup")
    joint, second = phases_of(TRAIN, MADE, options, seed=0)
    pool = make_pool(TRAIN, MADE, device=CPU.device)
    network = build_for(options, TRAIN)
    found = build_learner(network, joint, pool, CPU).smoothing
    torch.testing.assert_close(found, 0.7 * torch.eye(3) + 0.1)
    assert build_learner(network, second, pool, CPU).smoothing is None
    assert all(value.isfinite().all() for value in fit(label_smoothing=0.3, loss=loss, steps=3).state_dict().values())


def test_the_smoothed_cross_entropy_is_torchs():
    options = options_for(label_smoothing=0.2)
    (phase,), pool = phases_of(TRAIN, None, options, seed=0), make_pool(TRAIN, None, device=CPU.device)
    network = build_for(options, TRAIN)
    learner = build_learner(network, phase, pool, CPU)
    (batch,) = batches_of(phase.plan, pool, build_augmentation(options), 0, 1)
    expected = F.cross_entropy(network(batch.images), batch.labels, label_smoothing=0.2)
    torch.testing.assert_close(learner.learn(batch), expected.detach())


def test_label_smoothing_goes_from_the_rarest_to_the_largest_class_as_a_sine():
    found = smoothing_of(torch.tensor([100, 10, 55]), (0.1, 0.4)).numpy()
    middle = 0.1 + 0.3 * np.sin(np.pi / 2 * 0.5)
    for row, strength in ((0, 0.4), (1, 0.1), (2, middle)):
        expected = np.full(3, strength / 3)
        expected[row] += 1 - strength
        assert found[row] == pytest.approx(expected, rel=1e-6)
    alike = smoothing_of(torch.tensor([5, 5]), (0.98, 0.98)).numpy()
    assert alike == pytest.approx(np.array([[0.51, 0.49], [0.49, 0.51]]), rel=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_one_prior_for_the_merged_set_counts_synthetic_images_by_their_weight(weight):
    options = options_for(loss="logit-adjusted", prior="merged", synthetic_weight=weight)
    (phase,), pool = phases_of(TRAIN, MADE, options, seed=0), make_pool(TRAIN, MADE, device=CPU.device)
    learner = build_learner(build_model("resnet8", num_classes=3, image_shape=(1, 8, 8)), phase, pool, CPU)
    merged = np.array([40, 12, 4]) + weight * np.array([0, 20, 30])
    logits = torch.randn(3, 3)
    for source in (0, 1):
        found = learner.loss_per_image(logits, torch.tensor([0, 1, 2]), torch.full((3,), source))
        adjusted = logits + torch.from_numpy(np.log(merged / merged.sum())).float()
        expected = nn.functional.cross_entropy(adjusted, torch.tensor([0, 1, 2]), reduction="none")
        assert torch.allclose(found, expected, atol=1e-5)


def in_full_size(name):
    with torch.device("meta"):
        return build_model(name, num_classes=3, image_shape=(3, 224, 224))


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_the_last_stage_of_timms_networks_is_found(name):
    network = in_full_size(name)
    head, last, whole = ({id(p) for m in part_of(network, part) for p in m.parameters()} for part in ("head", "last", "all"))
    assert head < last < whole


def test_a_network_without_stages_is_refitted_in_its_head_or_whole_and_not_in_its_last_stage():
    network = in_full_size("densenet121")
    assert not {name for name, _ in network.named_children()} & set(LAST_STAGES)
    assert part_of(network, "head") == [network.classifier]
    assert part_of(network, "all") == [network]
    with pytest.raises(OptionError, match=r"--refit last: DenseNet has no .* could be its last stage; use --refit head"):
        part_of(network, "last")


def test_only_the_part_that_is_trained_has_to_be_there(monkeypatch):
    class Unstaged(nn.Sequential):
        def get_classifier(self):
            return self[-1]

    def unstaged(*, num_classes, in_chans):
        return Unstaged(nn.Flatten(), nn.Linear(64 * in_chans, 8), nn.ReLU(), nn.Linear(8, num_classes))

    monkeypatch.setitem(MODELS.entries, "unstaged", unstaged)
    fit(steps=2, model="unstaged", refit="head")
    with pytest.raises(OptionError, match="--refit last"):
        fit(steps=2, model="unstaged", refit="last")
