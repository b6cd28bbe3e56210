"""Fine-tuning: a fit starts exactly where another one ended, whatever became of the classes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ltaug import Machine, fit_generator, synthesize
from ltaug.data.imageset import ImageSet
from ltaug.errors import CorruptError, MismatchError, OptionError
from ltaug.files import read_json
from ltaug.generator import stage
from ltaug.generator.finetune import CLASSES, carry, embeddings, match_classes, with_network_of
from ltaug.generator.fit import build_trainee, fit
from ltaug.generator.generate import Generator
from ltaug.generator.trainee import EMA
from ltaug.methods import BACKBONES
from ltaug.options import NETWORK, GeneratorOptions
from ltaug.runs import read_run
from ltaug.runtime import derive_seed, make_runtime

CPU = Machine(device="cpu", threads=1)
TINY = {"channels": 8, "batch_size": 4, "warmup": 2}
DIGITS = {"dataset": "digits", "imbalance": 10.0, "head": 20}


def trained(tiny_set, options, cpu):
    """The average after a few steps on classes a, b and c, so that no weight is at its initial value."""
    trainee = build_trainee(options, tiny_set, seed=1, device=cpu.device)
    fit(trainee, tiny_set, dataclasses.replace(options, lr=1e-2), cpu, seed=1)
    return trainee.ema.module


@pytest.fixture
def source(tiny_set, tiny_options, cpu):
    return trained(tiny_set, tiny_options, cpu)


def renamed(tiny_set, *names):
    """The tiny set with other class names; its labels stay below three."""
    return ImageSet(tiny_set.images, tiny_set.labels % len(names), names, "renamed")


def carried(source, tiny_options, images, **changed):
    trainee = build_trainee(dataclasses.replace(tiny_options, **changed), images, seed=7, device=torch.device("cpu"))
    carry(source, ("a", "b", "c"), trainee, images.class_names, steps=8, name="source")
    return trainee


def outputs(denoiser, labels):
    """(x0, eps, features) of a fixed noisy batch under one label each."""
    stream = torch.Generator().manual_seed(5)
    x, sigma = torch.randn(len(labels), 1, 8, 8, generator=stream), torch.linspace(0.05, 20, len(labels))
    with torch.no_grad():
        return dataclasses.astuple(denoiser.eval()(x, sigma, torch.tensor(labels)))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(
    "names",
    [("a", "b", "c"), ("c", "a", "b"), ("x", "c", "b", "a", "y"), ("b",), ("c", "z")],
    ids=["the same", "another order", "more", "one", "some and a new one"],
)
def test_a_carried_class_is_drawn_bit_for_bit_as_before(names, backbone, tiny_set, tiny_options, cpu):
    source = trained(tiny_set, dataclasses.replace(tiny_options, backbone=backbone, **BACKBONES[backbone].TINY), cpu)
    trainee = carried(source, tiny_options, renamed(tiny_set, *names), backbone=backbone, **BACKBONES[backbone].TINY)
    kept = [name for name in names if name in "abc"]
    before = outputs(source, ["abc".index(name) for name in kept])
    for network in (trainee.denoiser, trainee.ema.module):
        assert same(outputs(network, [names.index(name) for name in kept]), before)
        assert same(outputs(network, [len(names)]), outputs(source, [3])), "without a class, too"


def test_a_fit_that_starts_afresh_draws_something_else(source, tiny_set, tiny_options):
    fresh = build_trainee(tiny_options, tiny_set, seed=7, device=torch.device("cpu"))
    assert not same(outputs(fresh.denoiser, [0]), outputs(source, [0]))


def test_objective_optimizer_and_source_are_not_touched(source, tiny_set, tiny_options, cpu):
    weights = {key: value.clone() for key, value in source.state_dict().items()}
    options = dataclasses.replace(tiny_options, objective="coral", label_dropout=0.0)
    fresh = build_trainee(options, tiny_set, seed=7, device=cpu.device)
    trainee = carried(source, tiny_options, tiny_set, objective="coral", label_dropout=0.0)
    assert same(trainee.objective.state_dict().values(), fresh.objective.state_dict().values())
    assert trainee.optimizer.state_dict()["state"] == {}
    fit(trainee, tiny_set, options, cpu, seed=7)
    assert same(source.state_dict().values(), weights.values())
    assert not same(trainee.denoiser.state_dict().values(), weights.values()), "what the optimizer holds is what is trained"
    assert not same(trainee.ema.module.state_dict().values(), weights.values())


@pytest.mark.parametrize(("before", "after"), [("ada", "ada"), ("ada", "none"), ("none", "ada")])
def test_an_augmentations_layer_is_carried_left_behind_or_new(before, after, tiny_set, tiny_options, cpu):
    source = trained(tiny_set, dataclasses.replace(tiny_options, augment=before), cpu)
    trainee = carried(source, tiny_options, tiny_set, augment=after)
    assert same(outputs(trainee.ema.module, [0, 1, 2]), outputs(source, [0, 1, 2]))
    layer = trainee.denoiser.backbone.augment
    assert (layer is not None) == (after == "ada")
    if (before, after) == ("ada", "ada"):
        assert torch.equal(layer.weight, source.backbone.augment.weight)


def test_another_network_is_refused_where_only_its_weights_are_known(source, tiny_set, tiny_options):
    with pytest.raises(MismatchError, match=r"source has another network: backbone\.\S+ .*differ in it.*without --from"):
        carried(source, tiny_options, tiny_set, channels=16)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backbone": "vit"}, "--backbone unet, not vit"),
        ({"channels": 32}, "--channels 16, not 32"),
        ({"channel-mults": [1, 2, 2], "preconditioning": "edm"}, "--preconditioning vp, not edm; --channel-mults 1,2, not 1,2,2"),
        ({"attention": [8]}, "--attention none, not 8"),
    ],
)
def test_options_of_another_network_are_each_named(given, said):
    source = dataclasses.asdict(GeneratorOptions(channels=16, channel_mults=(1, 2), attention=(), steps=5))
    with pytest.raises(MismatchError) as caught:
        with_network_of(source, given, name="runs/ddpm")
    assert f"runs/ddpm has another network ({said}); leave out what differs" in str(caught.value)


def test_the_network_is_the_sources_and_everything_else_is_not():
    source = GeneratorOptions(channels=16, channel_mults=(1, 2), attention=(), steps=5, objective="ddpm", lr=0.5, ema=0.1)
    recorded = json.loads(json.dumps(dataclasses.asdict(source)))
    found = with_network_of(recorded, {"objective": "cbdm", "channels": 16}, name="source")
    assert found["channel_mults"] == (1, 2)
    assert found["objective"] == "cbdm"
    assert set(found) == {*NETWORK, "objective"}


@pytest.mark.parametrize(
    ("backbone", "changed"),
    [
        ("unet", {"channels": 16, "channel_mults": (1, 1), "blocks": 2, "attention": (8,)}),
        ("vit", {"patch": 4, "depth": 4, "width": 16}),
    ],
)
def test_what_changes_the_weights_is_an_option_of_the_network(backbone, changed, tiny_set, tiny_options, cpu):
    def shapes(**sizes):
        options = dataclasses.replace(tiny_options, **{**BACKBONES[backbone].TINY, "backbone": backbone} | sizes)
        state = build_trainee(options, tiny_set, seed=0, device=cpu.device).denoiser.state_dict()
        return {key: value.shape for key, value in state.items()}

    for name, value in changed.items():
        assert name in NETWORK
        assert shapes(**{name: value}) != shapes()
    assert {"backbone", "preconditioning", "heads"} < set(NETWORK)


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory):
    given = {**TINY, "objective": "ddpm", "steps": 4, "preconditioning": "edm"}
    return fit_generator(DIGITS, given, out=tmp_path_factory.mktemp("source") / "ddpm", seed=3, machine=CPU)


def folder_of(tmp_path, *names, side=8):
    """A .npz of a few gray images a class."""
    labels = np.repeat(np.arange(len(names)), 4)
    images = np.random.RandomState(0).randint(0, 256, (len(labels), side, side, 1)).astype(np.uint8)
    path = tmp_path / "mine.npz"
    np.savez(path, images=images, labels=labels, test_images=images, test_labels=labels, class_names=np.array(names))
    return {"dataset": str(path)}


def test_alone_it_goes_on_with_the_sources_network_images_and_seed(ddpm, tmp_path):
    events = []
    further = {**TINY, "objective": "cbdm", "label_set": "bal", "steps": 2}
    tuned = fit_generator({}, further, out=tmp_path / "tuned", source=ddpm, machine=CPU, listener=events.append)
    before, record = read_run(ddpm), read_run(tuned)
    assert record["seed"] == 3
    assert record["options"]["dataset"] == before["options"]["dataset"]
    assert record["inputs"]["train"] == before["inputs"]["train"]
    assert record["options"]["fit-generator"]["preconditioning"] == "edm"
    digest = before["outputs"]["checkpoints/step-4/ema.safetensors"]
    assert record["inputs"]["source"]["digest"] == digest
    assert record["inputs"]["source"]["steps"] == 4
    assert (tuned / record["inputs"]["source"]["path"]).resolve() == ddpm.resolve()
    assert record["facts"]["carried"]["kept"] == list("0123456789")
    assert f"Starting from {ddpm} after 4 steps: 10 classes carried over." in [e.text for e in events]
    synthetic = synthesize(tuned, {"per_class_budget": "1", "sample_steps": 2}, out=tmp_path / "syn", machine=CPU)
    assert read_run(synthetic, finished=True)["seed"] == 3


def test_the_fit_begins_at_the_sources_averaged_weights(ddpm, tmp_path, monkeypatch):
    begun = []

    def observed(trainee, *arguments, start=0, **named):
        begun.append([(k, v.clone()) for m in (trainee.denoiser, trainee.ema.module) for k, v in m.state_dict().items()])
        return fit(trainee, *arguments, start=start, **named)

    monkeypatch.setattr(stage, "fit", observed)
    fit_generator({}, {**TINY, "steps": 1}, out=tmp_path / "tuned", source=ddpm, machine=CPU)
    expected = load_file(ddpm / "checkpoints/step-4/ema.safetensors")
    raw = load_file(ddpm / "checkpoints/step-4/weights.safetensors")
    assert len(begun[0]) == 2 * len(expected)
    assert all(torch.equal(value, expected[key]) for key, value in begun[0])
    assert not torch.equal(expected[CLASSES], raw[CLASSES])


def test_other_classes_are_matched_by_name_and_it_is_noted_which(ddpm, tmp_path):
    events = []
    mine = folder_of(tmp_path, "7", "ten", "1", "3")
    given = {**TINY, "objective": "ddpm", "steps": 1}
    tuned = fit_generator(mine, given, out=tmp_path / "tuned", source=ddpm, machine=CPU, listener=events.append)
    facts = read_run(tuned)["facts"]
    assert facts["carried"] == {"kept": ["7", "1", "3"], "new": ["ten"], "left_behind": ["0", "2", "4", "5", "6", "8", "9"]}
    said = next(e.text for e in events if e.text.startswith("Starting"))
    assert said.endswith("3 classes carried over; ten new; 0, 2, 4, 5, 6, 8, 9 left behind.")
    assert Generator.load(tuned, runtime=make_runtime("cpu")).class_names == ("7", "ten", "1", "3")


def test_a_chain_counts_its_steps_and_draws_anew_at_every_link(ddpm, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(stage, "fit", lambda *given, seed, **named: seeds.append(seed) or fit(*given, seed=seed, **named))
    once = fit_generator({}, {**TINY, "steps": 2}, out=tmp_path / "once", source=ddpm, machine=CPU)
    twice = fit_generator({}, {**TINY, "steps": 2}, out=tmp_path / "twice", source=once, machine=CPU)
    assert [read_run(run)["inputs"]["source"]["steps"] for run in (once, twice)] == [4, 6]
    assert Generator.load(twice, runtime=make_runtime("cpu")).steps == 8
    assert seeds == [derive_seed(3, "after", 4), derive_seed(3, "after", 6)]


def test_the_average_goes_on_where_the_sources_was():
    ema = EMA(torch.nn.Linear(1, 1), decay=0.9)
    assert ema.share_left(2) == pytest.approx(1 / 10 * 2 / 11)
    ema.steps_before = 5
    assert ema.share_left(2) == pytest.approx(6 / 15 * 7 / 16)
    ema.steps_before = 1000
    assert ema.share_left(10) == pytest.approx(0.9**10)


@pytest.mark.parametrize(("steps", "warned"), [(1, True), (9, False)])
def test_an_average_that_would_stay_mostly_the_source_is_said(steps, warned, ddpm, tmp_path):
    long = replace_record(shutil.copytree(ddpm, tmp_path / "long"), inputs={"source": {"steps": 1000}})
    events = []
    given = {**TINY, "steps": steps, "ema": 0.9}
    tuned = fit_generator({**DIGITS}, given, out=tmp_path / "tuned", source=long, seed=3, machine=CPU, listener=events.append)
    assert read_run(tuned)["facts"]["source_share"] == pytest.approx(0.9**steps, abs=1e-4)
    said = [e.text for e in events if "the average is still" in e.text]
    expected = f"After 1 steps the average is still 90% {long}: more --steps or a lower --ema help."
    assert said == ([expected] if warned else [])


def replace_record(run, **changed):
    """The run with other values in its run.json."""
    record = read_json(run / "run.json")
    del record["sha256"], record["format"]
    (run / "run.json").write_text(json.dumps(record | changed))
    return run


def test_interrupted_and_continued_it_ends_bit_for_bit_the_same(ddpm, tmp_path):
    given = {**TINY, "objective": "t2h+cbdm+coral", "steps": 6, "checkpoint_every": 3}
    whole = fit_generator({}, given, out=tmp_path / "whole", source=ddpm, machine=CPU)
    tuned = fit_generator({}, given, out=tmp_path / "tuned", source=ddpm, machine=CPU)
    shutil.rmtree(tuned / "checkpoints/step-6")
    replace_record(tuned, status="running", outputs={}, facts={})
    events = []
    fit_generator({}, given, out=tuned, source=ddpm, machine=CPU, listener=events.append)
    texts = [e.text for e in events if e.total is None and not e.once]
    assert texts == ["Continuing from step 3 of 6."]
    assert read_run(tuned)["outputs"] == read_run(whole)["outputs"]
    assert read_run(tuned)["facts"] == read_run(whole)["facts"]


def test_another_source_is_another_run(ddpm, tmp_path):
    other = fit_generator({}, {**TINY, "steps": 4}, out=tmp_path / "other", source=ddpm, machine=CPU)
    given = {**TINY, "steps": 1}
    tuned = fit_generator({}, given, out=tmp_path / "tuned", source=ddpm, machine=CPU)
    with pytest.raises(MismatchError, match=r"other options or inputs \(inputs.source.digest: \w+… before, \w+… now"):
        fit_generator({}, given, out=tuned, source=other, machine=CPU)
    with pytest.raises(MismatchError, match="source"):
        fit_generator(DIGITS, {**given, "preconditioning": "edm"}, out=tuned, seed=3, machine=CPU)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"backbone": "vit"}, "has another network (--backbone unet, not vit); leave out what differs"),
        ({"preconditioning": "vp", "blocks": 2}, "has another network (--preconditioning edm, not vp; --blocks 1, not 2)"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(changed, said, ddpm, tmp_path):
    with pytest.raises(MismatchError) as caught:
        fit_generator({}, {**TINY, **changed}, out=tmp_path / "never", source=ddpm, machine=CPU)
    assert said in str(caught.value)
    assert not (tmp_path / "never").exists()


def test_images_of_another_size_are_refused(ddpm, tmp_path):
    said = r"draws images of 8x8 pixels and 1 channel, the dataset has 16x16 pixels .*; give --image-size 8"
    with pytest.raises(MismatchError, match=said):
        fit_generator(folder_of(tmp_path, "0", "1", side=16), TINY, out=tmp_path / "never", source=ddpm, machine=CPU)
    assert not (tmp_path / "never" / "run.json").exists()


def test_a_source_that_is_not_whole_is_refused(ddpm, tmp_path):
    copy = shutil.copytree(ddpm, tmp_path / "copy")
    weights = copy / "checkpoints/step-4/ema.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CorruptError, match="is damaged"):
        fit_generator({}, TINY, out=tmp_path / "never", source=copy, machine=CPU)
    replace_record(copy, status="running")
    with pytest.raises(MismatchError, match="is not finished"):
        fit_generator({}, TINY, out=tmp_path / "never", source=copy, machine=CPU)
    assert not (tmp_path / "never").exists()


def test_classes_are_matched_by_name_and_none_need_be_known():
    assert str(match_classes(("a", "b"), ("z", "b"))) == "1 class carried over; z new; a left behind"
    assert str(match_classes(("a", "b"), ("A", "B"))) == "0 classes carried over; A, B new; a, b left behind"


def test_new_classes_start_from_rows_that_differ_and_lie_among_the_source_s():
    weight = torch.randn(6, 200, generator=torch.Generator().manual_seed(0)) + 3
    rows = embeddings(weight, "abcdef", ("x", "b", "y"))
    assert torch.equal(rows[1], weight[1])
    assert torch.equal(rows[0], embeddings(weight, "abcdef", ("x",))[0])
    assert (rows[0] - rows[2]).norm() > 0.5 * (weight[0] - weight[1]).norm()
    assert 0.5 < (rows[0] - weight.mean(0)).norm() / (weight - weight.mean(0)).norm(dim=1).mean() < 2


def test_an_option_that_does_not_exist_is_still_an_option_error(ddpm, tmp_path):
    with pytest.raises(OptionError, match="did you mean 'objective'"):
        fit_generator({}, {"objectiv": "cbdm"}, out=tmp_path / "never", source=ddpm, machine=CPU)
