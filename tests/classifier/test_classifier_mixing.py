"""Mixing: which pixels come from whom, and that labels and sources say so."""

import numpy as np
import pytest
import torch

from ltaug.classifier import mixing
from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import Batch, plan_batches
from ltaug.classifier.mixing import class_cutmix, class_mixup, cmo, cutmix, remix
from ltaug.data.imageset import ImageSet
from ltaug.methods import CLASSIFIER_AUGMENTATIONS
from ltaug.options import ClassifierOptions


def numbered(labels, *, first=0, side=8):
    """Image i has the value first + i everywhere; sources in turns."""
    n = len(labels)
    images = (first + torch.arange(n).float())[:, None, None, None].expand(n, 1, side, side).clone()
    counts = torch.bincount(torch.as_tensor(labels)).repeat(2, 1)
    return Batch(images, torch.as_tensor(labels), torch.arange(n) % 2, counts)


def partners_of(batch, found):
    """Of each image that was changed: its number, its one partner's value, and the mask of the partner's pixels."""
    for i, image in enumerate(found.images[:, 0]):
        others = image[image != batch.images[i, 0, 0, 0]].unique()
        assert len(others) <= 1
        if len(others):
            yield i, int(others), (image == others).numpy()


@pytest.mark.parametrize("name", ["cutmix", "class-cutmix", "cmo"])
def test_a_patch_is_a_rectangle_of_one_partner_and_labels_and_sources_have_its_area(name):
    torch.manual_seed(0)
    batch = numbered(list(range(4)) * 50)
    donors = numbered([3, 2, 1, 0] * 50, first=1000)
    given, other = ((batch, donors), donors) if name == "cmo" else ((batch,), batch)
    settings = {"alpha" if name == "cutmix" else "cutmix_alpha": 1.0}
    found = CLASSIFIER_AUGMENTATIONS[name](*given, **settings)
    patched = list(partners_of(batch, found))
    assert 60 < len(patched) < 120, "half of 200, and a few patches that are too small or lie on themselves"
    whole = set(range(200)) - {i for i, _, _ in patched}
    assert all(found.labels[i, batch.labels[i]] == 1 for i in whole)
    for i, partner, mask in patched:
        rows, columns = mask.any(1), mask.any(0)
        assert np.array_equal(mask, np.outer(rows, columns))
        assert all(np.ptp(np.flatnonzero(line)) + 1 == line.sum() for line in (rows, columns))
        j, area = partner % 1000, float(mask.mean())
        labels = (1 - area) * np.eye(4)[batch.labels[i]] + area * np.eye(4)[other.labels[j]]
        np.testing.assert_allclose(found.labels[i], labels, atol=1e-6)
        np.testing.assert_allclose(found.sources[i], (1 - area) * np.eye(2)[i % 2] + area * np.eye(2)[j % 2], atol=1e-6)
    same = [bool(batch.labels[i] == other.labels[partner % 1000]) for i, partner, _ in patched]
    assert all(same) if name == "class-cutmix" else not all(same)


def test_a_patch_has_the_place_and_the_size_that_were_drawn(monkeypatch):
    monkeypatch.setattr(mixing, "_shares", lambda batch, alpha: torch.full((len(batch.images),), 0.75))
    monkeypatch.setattr(torch, "rand", lambda *size, device: torch.full(size, 0.25))
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.arange(n).roll(1))
    found = cutmix(numbered([0, 1], side=8), alpha=1.0)
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = True  # half the side about a quarter of the way
    assert np.array_equal(found.images[1, 0] == 0, mask)
    torch.testing.assert_close(found.labels, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    monkeypatch.setattr(torch, "rand", lambda *size, device: torch.full(size, 0.01))
    found = cutmix(numbered([0, 1], side=8), alpha=1.0)
    assert int((found.images[1] == 0).sum()) == 4, "what lies outside is cut off"
    torch.testing.assert_close(found.labels[1], torch.tensor([4 / 64, 60 / 64]))


def test_the_patches_before_they_are_cut_off_have_the_area_of_their_beta_distribution(monkeypatch):
    torch.manual_seed(0)
    drawn = mixing._shares(numbered([0] * 4000), 0.5)
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(drawn.var()) == pytest.approx(0.25 / 2, rel=0.1)


def test_remix_gives_the_label_to_the_rarer_class_as_in_the_paper(monkeypatch):
    labels = [0, 0, 1, 1, 2, 2]  # of 90, 30 and 29 images
    shares = [0.4, 0.6, 0.4, 0.6, 0.4, 0.6]
    counts = torch.tensor([[90, 30, 20], [0, 0, 9]])
    monkeypatch.setattr(mixing, "_shares", lambda batch, alpha: torch.tensor(shares))
    for turn in range(6):
        monkeypatch.setattr(torch, "randperm", lambda n, device, turn=turn: torch.arange(n).roll(turn))
        batch = numbered(labels)._replace(class_counts=counts)
        found = remix(batch, mixup_alpha=1.0)
        n = counts.sum(0).numpy()
        for i, share in enumerate(shares):
            j = (i - turn) % 6
            ratio, own = n[labels[i]] / n[labels[j]], share
            if ratio >= 3 and share < 0.5:
                own = 0.0
            elif ratio <= 1 / 3 and 1 - share < 0.5:
                own = 1.0
            np.testing.assert_allclose(found.labels[i], own * np.eye(3)[labels[i]] + (1 - own) * np.eye(3)[labels[j]], atol=1e-6)
            assert float(found.images[i].mean()) == pytest.approx(share * i + (1 - share) * j, abs=1e-5)


def test_remix_takes_labels_that_are_weights_already():
    torch.manual_seed(0)
    batch = numbered([0] * 30 + [1] * 3)
    mixed = batch.mixed(batch.images, partner=torch.arange(33), share=torch.ones(33))
    torch.manual_seed(1)
    found = remix(batch, mixup_alpha=1.0)
    torch.manual_seed(1)
    torch.testing.assert_close(remix(mixed, mixup_alpha=1.0).labels, found.labels)


def test_a_classmate_is_any_other_image_of_the_class_equally_often_and_itself_only_where_there_is_none():
    torch.manual_seed(0)
    batch = numbered([0, 0, 0, 1])
    found = [class_mixup(batch, mixup_alpha=1.0) for _ in range(300)]
    others = [int(mixing._classmate(batch)[0]) for _ in range(300)]
    assert set(others) == {1, 2}
    assert 110 < others.count(1) < 190
    for mixed in found:
        torch.testing.assert_close(mixed.labels, torch.eye(2)[batch.labels])
        torch.testing.assert_close(mixed.images[3], batch.images[3])
    assert any(not torch.equal(mixed.sources[0].round(decimals=3), torch.tensor([1.0, 0.0])) for mixed in found)
    assert class_cutmix(numbered([0, 1, 2]), cutmix_alpha=1.0).images.flatten(1).unique(dim=1).shape == (3, 1)


def image_set(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageSet(np.zeros((len(labels), 1, 4, 4), np.uint8), labels, ("a", "b", "c"), "set")


def test_donors_are_drawn_from_every_class_of_the_merged_set_equally_often_and_only_where_they_are_asked_for():
    real, made = image_set([20, 6, 1]), image_set([0, 14, 19])
    plan = plan_batches(real, made, ClassifierOptions(augment="shift+cmo", batch_size=12), seed=0)
    plain = plan_batches(real, made, ClassifierOptions(augment="shift+cutmix", batch_size=12), seed=0)
    both = plan.indices(0, 20)
    assert both.shape == (20, 24)
    assert np.array_equal(both[:, :12], plain.indices(0, 20)), "the batches themselves stay as they were"
    donors = both[:, 12:]
    labels = np.concatenate([real.labels, made.labels])
    assert all(np.bincount(labels[row]).tolist() == [4, 4, 4] for row in donors)
    assert len(np.unique(donors)) == 60
    assert np.array_equal(both[7:9], plan.indices(7, 2))
    assert plain.donors is None


def test_donors_are_augmented_like_the_batch_up_to_where_they_are_used(monkeypatch):
    monkeypatch.setitem(CLASSIFIER_AUGMENTATIONS.entries, "shift", lambda batch: batch._replace(images=batch.images + 100))
    batch, donors = numbered([0, 1] * 10), numbered([0, 1] * 10, first=50)
    torch.manual_seed(0)
    found = build_augmentation(ClassifierOptions(augment="shift+cmo+shift"))(batch, donors)
    values = set(found.images.flatten().int().tolist())
    assert any(250 <= value < 270 for value in values)
    assert all(200 <= value < 220 or 250 <= value < 270 for value in values)


def test_cmo_takes_no_patch_from_the_batch_itself():
    torch.manual_seed(0)
    batch, donors = numbered([0] * 40), numbered([1] * 40, first=1000)
    donors = donors._replace(class_counts=torch.tensor([[40, 40], [0, 0]]))
    found = cmo(batch._replace(class_counts=donors.class_counts), donors, cutmix_alpha=1.0)
    assert all(value >= 1000 for _, value, _ in partners_of(batch, found))
