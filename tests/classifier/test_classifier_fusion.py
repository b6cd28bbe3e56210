"""Feature fusion (H2T): which features come from which image, what stays as it was, and who the donors are."""

import dataclasses

import numpy as np
import pytest
import torch
from test_classifier_phases import CPU, MADE, TRAIN, options_for, weights_of
from torch import nn

from ltaug.classifier import fit as fitting
from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import make_pool
from ltaug.classifier.fit import batches_of, fit_classifier
from ltaug.classifier.fusion import fused_logits, with_donors
from ltaug.classifier.models import build_model
from ltaug.classifier.phases import phases_of
from ltaug.errors import OptionError
from ltaug.methods import CLASSIFIER_AUGMENTATIONS, LOSSES

H2T = {"refit": "last", "refit_share": 0.5, "refit_loss": "ce", "refit_sampling": "balanced", "refit_fusion": 0.25}


class Pixels(nn.Module):
    """Its features are the pixels, and its logits the features."""

    def forward_features(self, x):
        return x

    def forward_head(self, features, pre_logits=False):
        return features.flatten(1)

    def get_classifier(self):
        return nn.Identity()


@pytest.mark.parametrize(("share", "taken"), [(0.0, 0), (0.25, 4), (0.3, 5), (1.0, 16)])
def test_the_same_share_of_features_of_every_image_is_its_donors(share, taken):
    own = torch.arange(1.0, 49).view(3, 1, 4, 4)
    torch.manual_seed(0)
    found = fused_logits(torch.cat([own, -own]), network=Pixels(), share=share)
    assert torch.equal(found.abs(), own.flatten(1)), "each from its own donor, at its own place"
    assert (found < 0).sum(1).tolist() == [taken] * 3
    assert torch.equal(found < 0, (found < 0)[:1].expand(3, -1)), "the same features for the whole batch"
    torch.manual_seed(0)
    assert torch.equal(found, fused_logits(torch.cat([own, -own]), network=Pixels(), share=share))


def test_every_step_takes_other_features_and_all_have_their_turn():
    images = torch.cat([torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)])
    torch.manual_seed(0)
    steps = torch.cat([fused_logits(images, network=Pixels(), share=0.25) for _ in range(400)]) < 0
    assert len({tuple(row) for row in steps.tolist()}) > 300
    assert steps.float().mean(0).numpy() == pytest.approx(np.full(16, 0.25), abs=0.08)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv3_small_050", "convnext_atto", "densenet121"])
def test_without_a_share_the_logits_are_the_networks_own(name):
    torch.manual_seed(0)
    network, x = build_model(name, num_classes=3, image_shape=(1, 32, 32)).eval(), torch.randn(4, 1, 32, 32)
    torch.testing.assert_close(fused_logits(x, network=network, share=0.0), network(x)[:2])
    torch.testing.assert_close(fused_logits(x, network=network, share=1.0), network(x)[2:])


def test_exchanging_pooled_features_is_exchanging_channels_before_they_are_pooled():
    network, x = build_model("resnet8", num_classes=3, image_shape=(1, 8, 8)).eval(), torch.randn(4, 1, 8, 8)
    torch.manual_seed(0)
    found = fused_logits(x, network=network, share=0.25)
    torch.manual_seed(0)
    channels = torch.rand(64).argsort() < 16
    own, donated = network.forward_features(x).chunk(2)
    torch.testing.assert_close(found, network.forward_head(torch.where(channels[:, None, None], donated, own)))


def batches_and_donors(*, steps=7, synthetic=None, **given):
    """The refit's batches without donors, those of its donors, and both together."""
    options = options_for(steps=2 * steps, augment="shift", **H2T | given)
    joint, refit = phases_of(TRAIN, synthetic, options, seed=0)
    assert joint.donors is None
    pool, augmentation = make_pool(TRAIN, synthetic, device=CPU.device), build_augmentation(options)
    drawn = [list(batches_of(plan, pool, augmentation, refit.first, refit.last)) for plan in (refit.plan, refit.donors)]
    return *drawn, list(with_donors(*map(iter, drawn)))


def test_donors_stand_behind_a_balanced_batch_that_keeps_its_images_and_labels():
    batches, donors, both = batches_and_donors()
    assert len(both) == 7
    for batch, other, fused in zip(batches, donors, both, strict=True):
        assert torch.equal(fused.images, torch.cat([batch.images, other.images]))
        assert all(torch.equal(one, kept) for one, kept in zip(batch[1:], fused[1:], strict=True))
    assert np.bincount(torch.cat([batch.labels for batch in both])) == pytest.approx(7 * 16 / 3, abs=1.5)


@pytest.mark.parametrize(("given", "counts"), [({}, [40, 12, 4]), ({"refit_on": "merged"}, [40, 32, 34])])
def test_donors_come_as_the_images_do_that_are_refitted_on(given, counts):
    _, donors, _ = batches_and_donors(steps=2 * sum(counts), synthetic=MADE, **given)
    drawn = np.bincount(torch.cat([batch.labels for batch in donors]), minlength=3)
    assert drawn == pytest.approx(32 * np.array(counts), abs=8)


def test_only_the_second_stage_fuses_features(monkeypatch):
    sizes = []

    def watched(batches, donors):
        for batch in with_donors(batches, donors):
            sizes.append((len(batch.images), len(batch.labels)))
            yield batch

    def fit(**given):
        return weights_of(fit_classifier(TRAIN, options_for(**H2T | given), seed=0, runtime=CPU)[0])

    monkeypatch.setattr(fitting, "with_donors", watched)
    fused, again, plain = fit(), fit(), fit(refit_fusion=0.0)
    assert sizes == [(32, 16)] * 10
    assert all(torch.equal(fused[name], again[name]) for name in fused)
    assert not torch.equal(fused["fc.weight"], plain["fc.weight"])
    assert torch.equal(fused["conv.weight"], plain["conv.weight"])


PARTS, LEARNERS = ("head", "last", "all"), ({}, {"average": "ema"}, {"sam_rho": 0.1}, {"refit_smoothing": 0.3})


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("place", "augment"), list(enumerate(CLASSIFIER_AUGMENTATIONS)))
def test_every_augmentation_loss_and_part_goes_with_fusion(place, augment, loss):
    # Parts, learners, samplings and sets take turns.
    turns = {"refit": PARTS[place % 3], "refit_sampling": ("balanced", "natural")[place % 2], **LEARNERS[place % 4]}
    options = options_for(**H2T | turns, steps=2, augment=augment, loss=loss, refit_on=("real", "merged")[place % 5 % 2])
    first = dataclasses.replace(options, refit="none", average="none", schedule="step", warmup=0.0, steps=1)
    begun, found = (
        weights_of(fit_classifier(TRAIN, o, synthetic=MADE, seed=0, runtime=CPU)[0])
        for o in (first, dataclasses.replace(options, schedule="step", warmup=0.0))
    )
    assert all(value.isfinite().all() for value in found.values())
    assert any(not torch.equal(begun[name], found[name]) for name in begun if name.startswith("fc."))
    if options.average == "none":
        assert torch.equal(begun["conv.weight"], found["conv.weight"]) == (options.refit != "all")


def test_fusion_without_a_second_stage_is_refused():
    with pytest.raises(OptionError, match=r"--refit-fusion 0\.25 is read only with --refit"):
        options_for(refit_fusion=0.25)
