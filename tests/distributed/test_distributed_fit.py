"""Two processes fit the generator that one process fits: the same batches, losses and weights up to rounding."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fits
import pytest
import torch
from launching import by_hand, ended

from ltaug.distributed.group import Group
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.generator.fit import build_trainee
from ltaug.generator.step import prepare
from ltaug.options import GeneratorOptions
from ltaug.place import Place


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes came to."""
    where = tmp_path_factory.mktemp("together")
    for process in by_hand(where, str(Path(__file__).with_name("fits.py")), str(where / "found")):
        ended(process, code=0)
    return [torch.load(where / f"found.{rank}", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("case", fits.CASES)
def test_two_processes_have_the_losses_and_weights_of_one(together, case):
    alone = fits.fitted(case)
    first, second = (found[case] for found in together)
    torch.testing.assert_close(first["losses"], alone["losses"], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(first["weights"], alone["weights"], rtol=0, atol=0.1 * 2e-3)
    torch.testing.assert_close(first["average"], alone["average"], rtol=0, atol=0.1 * 2e-3)
    assert torch.equal(first["weights"], second["weights"])
    assert torch.equal(first["average"], second["average"])


def test_dropout_draws_other_masks_in_every_process(together):
    first, second = (found["group"]["stream"] for found in together)
    assert not torch.equal(first, second)


def test_processes_agree_and_gather_rows_whose_gradients_stay_with_their_process(together):
    first, second = (found["group"] for found in together)
    assert (first["any"], second["any"]) == ([False, True], [False, True])
    assert first["led"] == second["led"] == "rank 0"
    assert first["gathered"].tolist() == second["gathered"].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert first["gradient"].tolist() == [[0, 0]]
    assert second["gradient"].tolist() == [[1, 1], [2, 2]]
    assert (first["share"], second["share"]) == (slice(0, 3), slice(3, 7))


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7])
def test_the_shares_of_all_processes_are_a_batch_in_its_order(world):
    batch = list(range(7))
    shares = [batch[Group(Place(rank, world)).share_of(7)] for rank in range(world)]
    assert [image for share in shares for image in share] == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def prepared(world, micro_batch=None, **given):
    options = resolve(GeneratorOptions, {**fits.UNET, "batch_size": 7, **given}, image_side=8)
    runtime = dataclasses.replace(fits.CPU, micro_batch=micro_batch)
    trainee = build_trainee(options, fits.long_tailed(), seed=0, device=runtime.device)
    return prepare(trainee, options, runtime, Group(Place(0, world)))


def test_more_processes_than_images_a_step_are_refused():
    prepared(7)
    with pytest.raises(OptionError, match=r"--batch-size 7 gives 8 processes nothing to share; start fewer"):
        prepared(8)


def test_micro_batches_of_coral_are_refused_unless_a_process_has_no_more_images():
    prepared(2, micro_batch=4, objective="coral")
    with pytest.raises(OptionError, match="coral compares the images of a batch"):
        prepared(2, micro_batch=3, objective="coral")
