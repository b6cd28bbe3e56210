"""The ways to compute a classifier's step: all are the same step, and none makes the host wait for the device."""

import contextlib
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from fake_device import Waits, made_up_gradients, moved, no_cuda
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ltaug import runtime as runtimes
from ltaug import train_classifier
from ltaug.classifier import fit as fitting
from ltaug.classifier import models
from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import make_pool
from ltaug.classifier.fit import fit_classifier, seconds_per_step
from ltaug.classifier.judge import features, probabilities
from ltaug.classifier.models import build_model
from ltaug.classifier.phases import build_learner, phases_of
from ltaug.classifier.step import BEFORE_CAPTURE, step_taker
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.machine import Machine
from ltaug.methods import CLASSIFIER_AUGMENTATIONS, LOSSES, MODELS
from ltaug.options import ClassifierOptions
from ltaug.runs import read_run
from ltaug.runtime import Runtime, for_classifier

CPU, CUDA = Runtime(torch.device("cpu"), None), Runtime(torch.device("cuda"), None)
BF16 = dataclasses.replace(CPU, amp_dtype=torch.bfloat16)
CAPTURED = dataclasses.replace(CPU, captured=True)
FUSED = {"refit": "last", "refit_share": 0.99, "refit_fusion": 0.25}


def noise(counts, *, seed=0, side=8):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), 1, side, side), dtype=np.uint8)
    return ImageSet(images, labels, ("a", "b", "c"), "noise")


TRAIN, MADE = noise([40, 12, 4]), noise([0, 20, 30], seed=1)


def options_for(**given):
    given = {"steps": 9, "batch_size": 16, "augment": "crop-flip", "loss": "logit-adjusted"} | given
    return resolve(ClassifierOptions, given, image_side=8)


def fit(runtime, *, on_step=None, checkpoints=None, **given):
    """The loss of every step, and the network."""
    told = []

    def tell(step, total, values):
        told.append(values["loss"])
        if on_step is not None:
            on_step(step)

    network, _ = fit_classifier(
        TRAIN,
        options_for(**given),
        synthetic=MADE,
        seed=0,
        runtime=runtime,
        on_step=tell,
        checkpoints=checkpoints,
        checkpoint_every=5,
    )
    return told, network


class PlayedGraph:
    """A CUDA graph on the CPU: calls are noted, leave no trace where they are recorded, and can be played on the same tensors."""

    def __init__(self):
        self.calls = []

    def replay(self):
        with torch.no_grad():
            for function, args, kwargs, recorded in self.calls:
                outputs = function(*args, **kwargs)
                each = [part if isinstance(part, tuple) else (part,) for part in (outputs, recorded)]
                for new, held, declared in zip(*each, function._schema.returns, strict=False):
                    if declared.alias_info is None:
                        for theirs, mine in zip(tree_leaves(new), tree_leaves(held), strict=True):
                            if isinstance(mine, torch.Tensor):
                                mine.copy_(theirs)


class Recording(TorchDispatchMode):
    def __init__(self, graph, stream, capture_error_mode):
        super().__init__()
        assert capture_error_mode == "thread_local"  # other threads read images meanwhile, into memory that they pin
        self.graph, self.before, self.made = graph, {}, set()

    def __enter__(self):
        self.random = torch.get_rng_state()
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, torch.Tensor) and id(given) not in self.made:
                self.before.setdefault(id(given), (given, given.detach().clone()))
        out = func(*args, **kwargs)
        self.made |= {id(part) for part in tree_leaves(out)} - self.before.keys()
        self.graph.calls.append((func, args, kwargs, out))
        return out

    def __exit__(self, *error):
        super().__exit__(*error)
        torch.set_rng_state(self.random)
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)


class Stream:
    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass


@pytest.fixture
def played(monkeypatch):
    """The graphs that were recorded, on a machine without CUDA."""
    graphs = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graphs.append(PlayedGraph()) or graphs[-1])
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    return graphs


def require_equal(network, other, *, rtol=1e-4):
    for mine, theirs in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("augment", ["none", "shift-rotate", "crop-flip+randaugment", "shift+mixup", "cmo"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"schedule": "step", "loss": "ce"},
        {"momentum": 0.0},
        {"reweight_from": 0.7},  # class weights change after the graph is recorded
        {"sam_rho": 0.2, "loss": "ldam", "average": "swa"},
        FUSED,
    ],
    ids=str,
)
def test_captured_steps_are_the_same_steps(augment, given, played):
    losses, network = fit(CAPTURED, augment=augment, **given)
    reference, plain = fit(CPU, augment=augment, **given)
    assert losses == pytest.approx(reference, rel=1e-4)
    require_equal(network, plain)
    (graph,) = played
    assert len(graph.calls) > 50
    assert len(set(losses)) == 9


def test_dropout_in_captured_steps_is_drawn_anew_for_each(played, monkeypatch):
    monkeypatch.setitem(MODELS.entries, "tiny", tiny)
    losses, network = fit(CAPTURED, model="tiny")
    reference, plain = fit(CPU, model="tiny")
    assert losses == pytest.approx(reference, rel=1e-4)
    require_equal(network, plain)


def tiny(*, num_classes, in_chans):
    layers = [nn.Conv2d(in_chans, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(288, num_classes)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("others", [CPU, CAPTURED], ids=["call by call", "captured"])
def test_a_captured_fit_goes_on_from_its_checkpoint_in_either_way(others, played, tmp_path):
    def stop(step):
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(CAPTURED, steps=14, checkpoints=tmp_path, on_step=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]
    losses, resumed = fit(others, steps=14, checkpoints=tmp_path)
    assert len(losses) == 9
    require_equal(resumed, fit(CPU, steps=14)[1])


def test_a_fit_too_short_to_be_captured_is_taken_call_by_call(played):
    losses, _ = fit(CAPTURED, steps=BEFORE_CAPTURE)
    assert losses == pytest.approx(fit(CPU, steps=BEFORE_CAPTURE)[0], rel=1e-4)
    assert not played


def test_what_warms_up_is_told_apart_and_takes_no_part_in_the_time_of_a_step(monkeypatch):
    now = [0.0]

    class Slow(models.CifarResNet):
        def forward(self, x):
            if self.training:
                now[0] += 100 if now[0] == 0 else 2
            return super().forward(x)

    monkeypatch.setitem(MODELS.entries, "slow", lambda **kwargs: Slow(blocks=1, **kwargs))
    monkeypatch.setattr(fitting.time, "perf_counter", lambda: now[0])
    _, took = fit_classifier(TRAIN, options_for(model="slow"), seed=0, runtime=CPU)
    assert (took.warm_up, took.steps) == (100, 16)
    now[0] = 0.0
    assert seconds_per_step(TRAIN, options_for(model="slow"), CPU, steps=5) == 2


def test_losses_in_bf16_are_within_two_percent_of_float32(tmp_path):
    half, plain = fit(BF16, steps=4)[0], fit(CPU, steps=4)[0]
    assert half != plain
    assert half == pytest.approx(plain, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_has_the_losses_of_the_others_and_leaves_the_network_itself_as_it_was(monkeypatch):
    monkeypatch.setitem(MODELS.entries, "tiny", tiny_without_dropout)
    losses, network = fit(dataclasses.replace(CPU, compiled=True), model="tiny", steps=4)
    assert losses == pytest.approx(fit(CPU, model="tiny", steps=4)[0], rel=1e-5)
    assert isinstance(network, nn.Sequential)
    assert network._compiled_call_impl is None  # images are looked at in other batch sizes, each of which would compile


def tiny_without_dropout(**kwargs):
    return nn.Sequential(*(layer for layer in tiny(**kwargs) if not isinstance(layer, nn.Dropout)))


def test_looking_at_images_is_float32_on_the_cpu_whatever_the_fit_was():
    _, network = fit(BF16, steps=2)
    for look in (probabilities, features):
        assert np.array_equal(look(network, TRAIN.images, runtime=BF16), look(network, TRAIN.images, runtime=CPU))


def fused_sgd(parameters, gradients, momenta, *, lr, **settings):
    assert not isinstance(lr, torch.Tensor) or lr.device.type == parameters[0].device.type


def learning(options, runtime, steps):
    """An untrained network with what it learns with in the first phase, and that phase's batches."""
    phase, pool = phases_of(TRAIN, MADE, options, seed=0)[0], make_pool(TRAIN, MADE, device=runtime.device)
    network = build_model(options.model, num_classes=TRAIN.num_classes, image_shape=TRAIN.image_shape).to(runtime.device)
    plans = [phase.plan, *filter(None, [phase.donors])]
    batches = [fitting.batches_of(plan, pool, build_augmentation(options), 0, steps) for plan in plans]
    return build_learner(network, phase, pool, runtime), fitting.with_donors(*batches) if phase.donors else batches[0]


def step_without_values(runtime, monkeypatch, **given):
    options = options_for(**given)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # these four are not known to fake tensors
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
    monkeypatch.setattr(torch, "_fused_sgd_", fused_sgd)
    with FakeTensorMode(allow_non_fake_inputs=True):
        learner, batches = learning(options, runtime, 3)
        parameters = [p for p in learner.network.parameters() if p.requires_grad]
        if runtime.device.type == "cuda":
            monkeypatch.setattr(torch.Tensor, "backward", lambda loss: made_up_gradients(parameters))
        take_step = step_taker(learner)
        with Waits():
            for batch in batches:
                loss = take_step(batch, 0.1)
    assert all(value.device.type == runtime.device.type for value in [loss, *batch, *(p.grad for p in parameters)])


@no_cuda
@pytest.mark.parametrize("captured", [False, True], ids=["call by call", "before capture"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("augment", [name for name in CLASSIFIER_AUGMENTATIONS if name != "randaugment"])
def test_no_step_makes_the_host_wait_for_the_device(augment, loss, captured, monkeypatch, played):
    runtime = dataclasses.replace(CUDA, captured=captured)
    step_without_values(runtime, monkeypatch, augment=augment, loss=loss, sampling="balanced", synthetic_fraction=0.5)


@no_cuda
@pytest.mark.parametrize(
    "given", [{"sam_rho": 0.1}, {"average": "ema"}, {"average": "swa"}, {"reweight_from": 0.5}, FUSED], ids=str
)
def test_nor_does_what_belongs_to_a_learner(given, monkeypatch, played):
    step_without_values(dataclasses.replace(CUDA, captured=True), monkeypatch, **given)


@no_cuda
def test_nor_does_the_way_back(monkeypatch):
    step_without_values(CPU, monkeypatch)


def test_precision_is_float32_for_small_images_and_bf16_for_larger_ones_where_the_cpu_multiplies_in_it(monkeypatch):
    decided = {}
    for able in (False, True):
        monkeypatch.setattr(runtimes, "_multiplies_bf16", lambda able=able: able)
        for side in (8, 16, 17, 32):
            decided[able, side] = for_classifier(CPU, Machine(), image_side=side, steps=100_000)
    assert {key for key, runtime in decided.items() if runtime.amp_dtype is torch.bfloat16} == {(True, 17), (True, 32)}
    assert not any(runtime.captured or runtime.compiled for runtime in decided.values())
    assert for_classifier(CPU, Machine(precision="fp32"), image_side=32, steps=9) == CPU


def test_on_a_gpu_all_fits_are_captured_and_long_ones_compiled(monkeypatch):
    monkeypatch.setattr(runtimes, "can_compile", lambda on_gpu: True)
    gpu = dataclasses.replace(CUDA, amp_dtype=torch.bfloat16)
    short, long = (for_classifier(gpu, Machine(), image_side=32, steps=steps) for steps in (19_999, 20_000))
    assert short == dataclasses.replace(gpu, captured=True)
    assert long == dataclasses.replace(gpu, captured=True, compiled=True)
    assert for_classifier(gpu, Machine(compile="no"), image_side=32, steps=20_000) == gpu
    assert for_classifier(gpu, Machine(compile="yes", precision="fp32"), image_side=32, steps=9) == dataclasses.replace(
        CUDA, captured=True, compiled=True
    )
    monkeypatch.setattr(runtimes, "can_compile", lambda on_gpu: False)
    assert for_classifier(gpu, Machine(), image_side=32, steps=20_000) == short
    with pytest.raises(OptionError, match="--compile yes needs Triton"):
        for_classifier(gpu, Machine(compile="yes"), image_side=32, steps=9)


def test_what_a_classifier_is_told_of_its_computing_reaches_its_record(tmp_path):
    given = {"steps": 2, "batch_size": 8}
    for name, machine in {"auto": Machine(), "half": Machine(precision="bf16")}.items():
        train_classifier({"dataset": "digits"}, given, out=tmp_path / name, machine=machine)
    half, auto = (read_run(tmp_path / name, finished=True) for name in ("half", "auto"))
    assert (half["device"]["precision"], auto["device"]["precision"]) == ("bfloat16", "float32")
    assert half["outputs"]["weights.safetensors"] != auto["outputs"]["weights.safetensors"]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("augment", ["shift-rotate", "crop-flip+randaugment", "shift+mixup"])
def test_on_a_gpu_captured_steps_have_the_losses_of_the_others(augment, compiled):
    torch.backends.cudnn.allow_tf32 = False
    plain, _ = fit(CUDA, augment=augment)
    captured, network = fit(dataclasses.replace(CUDA, captured=True, compiled=compiled), augment=augment)
    half, _ = fit(dataclasses.replace(CUDA, captured=True, compiled=compiled, amp_dtype=torch.bfloat16), augment=augment)
    assert captured[:5] == pytest.approx(plain[:5], rel=1e-4)
    assert half[:5] == pytest.approx(plain[:5], rel=0.02)
    assert np.isfinite(probabilities(network, TRAIN.images, runtime=CUDA)).all()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("augment", ["crop-flip", "mixup"])
@pytest.mark.parametrize("captured", [False, True], ids=["call by call", "captured"])
def test_on_a_gpu_a_step_does_not_wait(captured, augment):
    runtime, options = dataclasses.replace(CUDA, amp_dtype=torch.bfloat16, captured=captured), options_for(augment=augment)
    learner, batches = learning(options, runtime, 8)
    take_step = step_taker(learner)
    for step, batch in enumerate(batches):
        if step > BEFORE_CAPTURE:  # kernels are chosen and the graph is recorded before
            torch.cuda.set_sync_debug_mode("error")
        try:
            take_step(batch, 0.1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
