"""The ways to compute a step: all are the same step, and none makes the host wait for the device."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from fake_device import Waits, made_up_gradients, moved, no_cuda
from fake_judge import toy_judged
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from ltaug import fit_generator
from ltaug import runtime as runtimes
from ltaug.data.imageset import ImageSet
from ltaug.errors import OptionError
from ltaug.fields import resolve
from ltaug.generator import cpu_forms
from ltaug.generator.backbones.unet import Enlarge, one_head
from ltaug.generator.batching import batch_for
from ltaug.generator.fit import TrainingData, build_denoiser, build_trainee, draw_batch, fit
from ltaug.generator.generate import generate
from ltaug.generator.resampling import _permutation
from ltaug.generator.sampling import Sampling
from ltaug.generator.step import Gradients, prepare, train_step
from ltaug.generator.trainee import read_checkpoint, restore, save_checkpoint
from ltaug.machine import Machine
from ltaug.methods import BACKBONES, REGULARISERS, TARGETS
from ltaug.options import GeneratorOptions
from ltaug.runs import read_run
from ltaug.runtime import LONG_SAMPLING, Runtime, for_fit, for_sampling

OBJECTIVES = [*TARGETS, *REGULARISERS, *("+".join([target, *REGULARISERS]) for target in TARGETS)]
FORMS = [
    {"draws": 2},
    {"pair_form": "sampled"},
    {"pair_fraction": 0.5},
    {"pair_fraction": 0.3, "draws": 3, "pair_form": "sampled"},
    {"objective": "t2h+cbdm"},
    {"augment": "ada"},
    {"augment": "diffaug", "preconditioning": "edm"},
    {"sampling": "rs"},
    {"objective": "t2h+cbdm+aid", "aid_weight": 10.0, "aid_below": 100.0},
]
FP32 = Runtime(torch.device("cpu"), None)
BF16 = Runtime(torch.device("cpu"), torch.bfloat16)
PLAIN = dataclasses.replace(FP32, plain=True)


def long_tailed(side=8):
    labels = np.repeat(np.arange(3), [6, 3, 1]).astype(np.int64)
    images = np.random.RandomState(0).randint(0, 256, (10, 1, side, side)).astype(np.uint8)
    return ImageSet(images, labels, ("a", "b", "c"), "tiny")


def options_for(**given):
    given = {"objective": "cbdm", "dropout": 0.0, "batch_size": 6, "label_dropout": 0.2, "steps": 5, "warmup": 2} | given
    return resolve(GeneratorOptions, BACKBONES[given.get("backbone", "unet")].TINY | given, image_side=8)


def trainee_for(options, runtime, *, seed=0):
    """Away from the zeros at which networks start, so that all their weights have gradients."""
    trainee = build_trainee(options, long_tailed(), seed=seed, device=runtime.device, judged=toy_judged())
    torch.manual_seed(0)
    for p in trainee.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return prepare(trainee, options, runtime)


def losses(options, runtime, *, steps=3):
    """(steps, terms): what a few steps of training say of the loss and its terms."""
    trainee, seen = trainee_for(options, runtime), []
    fit(
        trainee,
        long_tailed(),
        dataclasses.replace(options, steps=steps),
        runtime,
        seed=0,
        after_step=lambda step, terms: seen.append([v.item() for v in terms.values()]) is None,
    )
    return torch.tensor(seen, dtype=torch.float64), trainee


def gradients(options, runtime, *, step=1):
    """The means of the loss and its terms, and all gradients, of one batch."""
    trainee = trainee_for(options, runtime)
    data = TrainingData.on(runtime.device, long_tailed(), sampling=options.sampling)
    batch = draw_batch(data, options, trainee.denoiser, step=step, seed=0)
    trainee.denoiser.train()
    terms = Gradients(trainee, runtime).add(batch)
    return terms, [p.grad for p in trainee.denoiser.parameters()]


def require_equal(one, other, *, tolerance):
    (terms, grads), (their_terms, their_grads) = one, other
    assert terms.keys() == their_terms.keys()
    for name, value in terms.items():
        torch.testing.assert_close(value, their_terms[name], rtol=tolerance, atol=1e-8)
    largest = max(float(g.abs().max()) for g in their_grads)
    for mine, theirs in zip(grads, their_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("given", [*({"objective": name} for name in OBJECTIVES), *FORMS, {"backbone": "vit"}], ids=str)
def test_fast_and_plain_steps_have_the_same_losses(given):
    options = options_for(**given)
    fast, trainee = losses(options, FP32)
    plain, reference = losses(options, PLAIN)
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-7)
    for mine, theirs in zip(trainee.ema.module.parameters(), reference.ema.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0.1 * options.lr)


@pytest.mark.parametrize("objective", ["cbdm", "t2h+cbdm", "coral"])
def test_losses_in_bf16_are_within_a_percent_of_plain_ones(objective):
    options = options_for(objective=objective)
    half, _ = losses(options, BF16)
    plain, _ = losses(options, PLAIN)
    assert not torch.equal(half, plain)
    torch.testing.assert_close(half[:, 0], plain[:, 0], rtol=0.01, atol=0)


def test_the_plain_way_makes_a_pass_for_each_conditioning_and_loops():
    options = options_for(objective="cbdm", draws=2)
    sizes = {}
    for runtime in (FP32, PLAIN):
        trainee = trainee_for(options, runtime)
        seen = sizes.setdefault(runtime.plain, [])
        trainee.denoiser.backbone.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(len(given[0])))
        batch = draw_batch(TrainingData.on(runtime.device, long_tailed()), options, trainee.denoiser, step=0, seed=0)
        train_step(trainee, batch, options, runtime, step=0)
        group = trainee.optimizer.param_groups[0]
        assert (bool(group["fused"]), group["foreach"] is False) == (not runtime.plain, runtime.plain)
        layout = torch.contiguous_format if runtime.plain else torch.channels_last
        assert trainee.denoiser.backbone.down[0].conv1.weight.is_contiguous(memory_format=layout)
        assert trainee.ema.module.backbone.down[0].conv1.weight.is_contiguous(memory_format=layout)
    assert sizes == {False: [18], True: [6, 12]}


@pytest.mark.parametrize(
    ("given", "micro_batch"),
    [*(({}, size) for size in (1, 6, 100)), *((g, 4) for g in ({}, {"objective": "ddpm"}, *FORMS, {"backbone": "vit"}))],
    ids=str,
)
def test_micro_batches_have_the_losses_and_gradients_of_the_whole_batch(given, micro_batch):
    options = options_for(**given)
    runtime = dataclasses.replace(FP32, micro_batch=micro_batch)
    require_equal(gradients(options, runtime), gradients(options, FP32), tolerance=1e-6)


def test_micro_batches_bound_how_many_images_go_through_the_network():
    options = options_for(batch_size=10)
    runtime = dataclasses.replace(FP32, micro_batch=4)
    trainee, seen = trainee_for(options, runtime), []
    trainee.denoiser.backbone.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    batch = draw_batch(TrainingData.on(runtime.device, long_tailed()), options, trainee.denoiser, step=0, seed=0)
    train_step(trainee, batch, options, runtime, step=0)
    assert seen == [8, 8, 4]  # each image under its own class and another one


def with_memory_for(trainee, images):
    """The trainee, whose network has no memory for more images at a time, and how many it was asked for."""
    seen = []

    def look(module, given):
        seen.append(len(given[0]))
        if seen[-1] > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainee.denoiser.backbone.register_forward_pre_hook(look)
    return trainee, seen


@pytest.mark.parametrize("given", [{}, {"objective": "ddpm"}, *FORMS, {"backbone": "vit"}], ids=str)
def test_a_step_that_runs_out_of_memory_is_made_again_in_halves_with_the_same_losses_and_gradients(given):
    options, said = options_for(**given), []
    data = TrainingData.on(FP32.device, long_tailed(), sampling=options.sampling)
    (trainee, seen), expected = with_memory_for(trainee_for(options, FP32), 5), gradients(options, FP32)
    batch = draw_batch(data, options, trainee.denoiser, step=1, seed=0)
    trainee.denoiser.train()
    terms = Gradients(trainee, FP32, tell=said.append).add(batch)
    require_equal((terms, [p.grad for p in trainee.denoiser.parameters()]), expected, tolerance=1e-6)
    assert max(seen) > 5
    assert said[0] == "Out of memory with 6 images at a time; going on with micro-batches of 3."


def test_micro_batches_stay_halved_for_the_steps_that_follow():
    options, said = options_for(objective="ddpm", steps=3), []
    (trainee, seen), whole = with_memory_for(trainee_for(options, FP32), 2), trainee_for(options, FP32)
    fit(trainee, long_tailed(), options, FP32, seed=0, tell=said.append)
    fit(whole, long_tailed(), options, FP32, seed=0)
    assert seen == [6, 3, *[1] * 18]
    assert len(said) == 2
    for mine, theirs in zip(trainee.denoiser.parameters(), whole.denoiser.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0.05 * options.lr)


@pytest.mark.parametrize(("objective", "images"), [("coral", 5), ("cbdm", 0)])
def test_what_compares_images_and_a_single_image_without_memory_end_the_fit(objective, images):
    options = options_for(objective=objective)
    trainee, _ = with_memory_for(trainee_for(options, FP32), images)
    with pytest.raises(torch.OutOfMemoryError):
        fit(trainee, long_tailed(), options, FP32, seed=0)


def test_another_error_is_not_taken_for_one_of_memory():
    options = options_for()
    trainee = trainee_for(options, FP32)
    trainee.denoiser.backbone.register_forward_pre_hook(lambda module, given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(trainee, long_tailed(), options, FP32, seed=0)


@pytest.mark.parametrize("name", REGULARISERS)
def test_micro_batches_are_refused_for_what_compares_images_and_for_nothing_else(name):
    options = options_for(objective=f"t2h+{name}")
    built = build_trainee(options, long_tailed(), seed=0, device=FP32.device, judged=toy_judged())
    prepare(built, options, dataclasses.replace(FP32, micro_batch=6))  # the whole batch
    part = dataclasses.replace(FP32, micro_batch=5)
    if not REGULARISERS.about(name).compares:
        prepare(built, options, part)
        return
    with pytest.raises(OptionError, match=rf"--micro-batch 5 .* --objective t2h\+{name}: {name} compares the images"):
        prepare(built, options, part)


@pytest.mark.parametrize("runtime", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_recomputed_blocks_have_the_same_losses_and_gradients_with_the_same_dropout(backbone, dropout, runtime):
    options = options_for(backbone=backbone, dropout=dropout)
    recomputed = gradients(options, dataclasses.replace(runtime, checkpoint_activations=True))
    require_equal(recomputed, gradients(options, runtime), tolerance=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recomputed_blocks_keep_less_for_the_way_back(backbone):
    options = options_for(backbone=backbone)

    def kept(runtime):
        trainee, sizes = trainee_for(options, runtime), {}
        batch = draw_batch(TrainingData.on(FP32.device, long_tailed()), options, trainee.denoiser, step=0, seed=0)

        def keep(tensor):
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            trainee.objective(trainee.denoiser, batch)
        weights = {p.data_ptr() for p in trainee.denoiser.parameters()}
        return sum(size for where, size in sizes.items() if where not in weights)

    assert kept(dataclasses.replace(FP32, checkpoint_activations=True)) < 0.6 * kept(FP32)


def both_ways(form, theirs, x, weights):
    """Outputs and gradients of two functions of x."""
    results = []
    for function in (form, theirs):
        out = function(x)
        results.append((out, *torch.autograd.grad((out * out.detach().cos()).sum(), [x, *weights])))
    return results


@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (3, 8, 5, 2)])
def test_the_forms_for_the_cpu_are_the_layers_they_stand_for(shape):
    torch.manual_seed(0)
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    norm, larger = torch.nn.GroupNorm(2, 8), Enlarge(8)
    norm.weight.data.uniform_(0.5, 2)
    for form, layer in ((cpu_forms.group_norm, norm), (cpu_forms.enlarge, larger)):
        for mine, theirs in zip(*both_ways(partial(form, layer), layer, x, list(layer.parameters())), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [5, 12])  # fewer and more than channels
def test_attention_as_products_is_attention(positions):
    torch.manual_seed(0)
    qkv = torch.randn(3, 2, positions, 8, requires_grad=True)
    forms = [lambda x: cpu_forms.attend(*x), lambda x: one_head(*x)]
    for mine, theirs in zip(*both_ways(*forms, qkv, []), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_dropout_by_coins_drops_its_share_makes_up_for_it_and_repeats_itself(layout):
    layer = torch.nn.Dropout(0.3)
    x = torch.rand(7, 5, 51, 53).add(1).contiguous(memory_format=layout).requires_grad_()
    torch.manual_seed(4)
    out = cpu_forms.dropout(layer, x)
    kept = out != 0
    assert kept.double().mean().item() == pytest.approx(0.7, abs=0.01)
    assert kept.double().mean((2, 3)).std().item() == pytest.approx((0.3 * 0.7 / (51 * 53)) ** 0.5, rel=0.5)  # no pattern
    torch.testing.assert_close(out[kept], x[kept] / 0.7)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), x)[0], kept / 0.7)
    torch.manual_seed(4)
    assert torch.equal(cpu_forms.dropout(layer, x), out)
    assert torch.equal(cpu_forms.dropout(layer.eval(), x), x)


def test_only_bf16_on_the_cpu_computes_in_other_forms():
    ways = {"fp32": FP32, "bf16": BF16, "plain": PLAIN, "compiled": dataclasses.replace(BF16, compiled=True)}
    forms = {}
    for name, runtime in ways.items():
        backbone = trainee_for(options_for(), runtime).denoiser.backbone
        assert (backbone._compiled_call_impl is not None) == runtime.compiled
        layers = backbone.modules()
        forms[name] = sum("forward" in vars(layer) or getattr(layer, "attend", None) is cpu_forms.attend for layer in layers)
    assert forms["bf16"] > 10
    assert forms["fp32"] == forms["plain"] == forms["compiled"] == 0


def test_a_fit_may_be_continued_in_another_way(tmp_path):
    options = options_for(dropout=0.1, steps=6)
    first = trainee_for(options, FP32)
    fit(first, long_tailed(), options, FP32, seed=0, after_step=lambda step, terms: step < 3)
    save_checkpoint(tmp_path, 3, first)
    second = trainee_for(options, PLAIN, seed=1)
    restore(second, read_checkpoint(tmp_path / "step-3"))
    assert second.optimizer.param_groups[0]["fused"] is False
    fit(second, long_tailed(), options, PLAIN, seed=0, start=3)
    assert all(p.isfinite().all() for p in second.denoiser.parameters())


def step_without_values(options, runtime, monkeypatch):
    """A step on fake tensors: shapes without values, so that whatever asks for a value fails.

    On a CUDA device that is not there copies between devices are seen too, but there is no way back through the network:
    gradients are made up.
    """
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)  # these two are not known to fake tensors
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    _permutation.cache_clear()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            judged = toy_judged(device=runtime.device)
            built = build_trainee(options, long_tailed(), seed=0, device=runtime.device, judged=judged)
            trainee = prepare(built, options, runtime)
            parameters = [*trainee.denoiser.parameters(), *trainee.objective.parameters()]
            if runtime.device.type == "cuda":
                monkeypatch.setattr(torch.Tensor, "backward", lambda loss: made_up_gradients(parameters))
            data = TrainingData.on(runtime.device, long_tailed(), sampling=options.sampling, limit=2**30)
            draw_batch(data, options, trainee.denoiser, step=0, seed=0)  # tables are moved once
            with Waits():
                batch = draw_batch(data, options, trainee.denoiser, step=1, seed=0)
                terms = train_step(trainee, batch, options, runtime, step=1)
        assert all(value.device.type == runtime.device.type for value in [*terms.values(), *(p.grad for p in parameters)])
    finally:
        _permutation.cache_clear()


CUDA = Runtime(torch.device("cuda"), None)


@no_cuda
@pytest.mark.parametrize(
    "given",
    [*({"objective": name} for name in OBJECTIVES), *(f for f in FORMS if "pair_form" not in f), {"backbone": "vit"}],
    ids=str,
)
def test_no_step_makes_the_host_wait_for_the_device(given, monkeypatch):
    size = {} if "backbone" in given else {"channel_mults": (1,)}
    step_without_values(options_for(**size, **given), CUDA, monkeypatch)


@no_cuda
@pytest.mark.parametrize("given", [{"objective": "t2h+cbdm+coral"}, {"backbone": "vit"}], ids=str)
def test_nor_does_the_way_back(given, monkeypatch):
    step_without_values(options_for(**given), FP32, monkeypatch)


@no_cuda
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_nor_do_micro_batches_or_recomputed_blocks(device, monkeypatch):
    runtime = Runtime(torch.device(device), None, micro_batch=4, checkpoint_activations=True)
    step_without_values(options_for(channel_mults=(1,)), runtime, monkeypatch)


@no_cuda
def test_only_a_number_of_pairs_that_is_drawn_has_to_be_waited_for(monkeypatch):
    with pytest.raises(DynamicOutputShapeException):
        step_without_values(options_for(pair_form="sampled"), CUDA, monkeypatch)


def test_precision_is_float32_for_small_images_and_bf16_for_larger_ones_where_the_cpu_multiplies_in_it(monkeypatch):
    precisions = {}
    for able in (False, True):
        monkeypatch.setattr(runtimes, "_multiplies_bf16", lambda able=able: able)
        for side in (8, 16, 17, 32):
            precisions[able, side] = for_fit(FP32, Machine(), image_side=side, steps=10_000).amp_dtype
            assert for_sampling(FP32, Machine(), image_side=side, passes=10_000).amp_dtype == precisions[able, side]
    assert {key for key, dtype in precisions.items() if dtype is torch.bfloat16} == {(True, 17), (True, 32)}


def test_a_run_says_how_it_was_computed_and_what_warming_up_took(tmp_path):
    given = {"steps": 3, "channels": 8, "batch_size": 4, "checkpoint_every": 1}
    fit_generator({"dataset": "digits"}, given, out=tmp_path / "gen", machine=Machine(plain=True, micro_batch=2))
    record = read_run(tmp_path / "gen", finished=True)
    assert record["device"] | {"precision": "float32", "plain": True, "micro_batch": 2} == record["device"]
    assert record["timings"].keys() == {"warm-up", "fit"}
    with pytest.raises(OptionError, match="coral compares"):
        fit_generator({"dataset": "digits"}, given | {"objective": "coral"}, out=tmp_path / "b", machine=Machine(micro_batch=2))


def test_what_a_fit_is_told_of_its_computing_reaches_the_runtime_and_its_record(monkeypatch):
    monkeypatch.setattr(runtimes, "can_compile", lambda on_gpu: True)
    plain = for_fit(FP32, Machine(plain=True, checkpoint_activations=True), image_side=32, steps=10)
    assert plain == Runtime(FP32.device, None, plain=True, checkpoint_activations=True)
    assert {"plain", "checkpoint_activations"} <= plain.describe().keys()
    assert not {"compiled", "micro_batch"} & plain.describe().keys()
    asked = for_fit(FP32, Machine(precision="bf16", compile="yes", micro_batch=8), image_side=8, steps=10)
    assert asked == Runtime(FP32.device, torch.bfloat16, compiled=True, micro_batch=8)
    assert asked.describe()["precision"] == "bfloat16"


def test_compiling_is_for_long_fits_on_a_gpu(monkeypatch):
    monkeypatch.setattr(runtimes, "can_compile", lambda on_gpu: True)
    gpu = Runtime(torch.device("cuda"), torch.bfloat16)
    compiled = [for_fit(r, Machine(), image_side=32, steps=steps).compiled for r in (FP32, gpu) for steps in (1999, 2000)]
    assert compiled == [False, False, False, True]
    assert not for_fit(gpu, Machine(compile="no"), image_side=32, steps=10_000).compiled
    assert not for_fit(gpu, Machine(plain=True), image_side=32, steps=10_000).compiled


def test_compiling_is_for_much_sampling_on_a_gpu(monkeypatch):
    monkeypatch.setattr(runtimes, "can_compile", lambda on_gpu: True)
    gpu = Runtime(torch.device("cuda"), torch.bfloat16)
    counts = (LONG_SAMPLING - 1, LONG_SAMPLING)
    compiled = [for_sampling(r, Machine(), image_side=32, passes=n).compiled for r in (FP32, gpu) for n in counts]
    assert compiled == [False, False, False, True]
    assert for_sampling(FP32, Machine(compile="yes"), image_side=8, passes=1).compiled
    assert not for_sampling(gpu, Machine(compile="no"), image_side=32, passes=LONG_SAMPLING).compiled


def test_without_compilers_nothing_is_compiled_by_itself_and_asking_for_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    gpu = Runtime(torch.device("cuda"), torch.bfloat16)
    assert not for_fit(gpu, Machine(), image_side=32, steps=10_000).compiled
    for runtime, missing in ((FP32, r"a C\+\+ compiler"), (gpu, "Triton and a C compiler")):
        with pytest.raises(OptionError, match=f"--compile yes needs {missing}, which this machine does not have"):
            for_fit(runtime, Machine(compile="yes"), image_side=32, steps=10)


@pytest.mark.parametrize("given", [{"precision": "bf16"}, {"compile": "yes"}])
def test_plain_with_what_it_does_without_is_refused(given):
    with pytest.raises(OptionError, match=r"--plain computes in float32 and does not compile; leave out --(precision|compile)"):
        for_fit(FP32, Machine(plain=True, **given), image_side=8, steps=10)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("given", [{}, {"objective": "t2h+cbdm"}, {"objective": "coral"}, {"preconditioning": "edm"}], ids=str)
def test_on_a_gpu_the_fast_step_has_the_losses_of_the_plain_one(given, compiled):
    options = options_for(**given)
    plain, _ = losses(options, dataclasses.replace(CUDA, plain=True))
    fast, _ = losses(options, dataclasses.replace(CUDA, compiled=compiled))
    half, _ = losses(options, dataclasses.replace(CUDA, amp_dtype=torch.bfloat16, compiled=compiled))
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-7)
    assert not torch.equal(half, plain)
    torch.testing.assert_close(half[:, 0], plain[:, 0], rtol=0.01, atol=0)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("given", [{}, {"objective": "t2h+cbdm+coral"}, {"augment": "ada"}], ids=str)
def test_on_a_gpu_a_step_does_not_wait(given):
    options, runtime = options_for(**given), dataclasses.replace(CUDA, amp_dtype=torch.bfloat16)
    trainee, data = trainee_for(options, runtime), TrainingData.on(CUDA.device, long_tailed())
    for step in range(4):
        if step == 2:  # tables are moved and kernels chosen before
            torch.cuda.set_sync_debug_mode("error")
        try:
            train_step(trainee, draw_batch(data, options, trainee.denoiser, step=step, seed=0), options, runtime, step=step)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_takes_a_batch_that_its_memory_holds():
    runtime = dataclasses.replace(CUDA, amp_dtype=torch.bfloat16)
    network = build_denoiser(GeneratorOptions(channels=32), image_shape=(3, 32, 32), num_classes=3).eval().to("cuda")
    how = {"image_shape": (3, 32, 32), "runtime": runtime}
    batch = batch_for(None, 10_000, denoiser=network, guidance=1.0, **how)
    halvings = []
    batch.tell = halvings.append
    keys = [(0, i) for i in range(batch.size)]
    made = generate(network, keys, seed=0, batch_size=batch, sampling=Sampling(steps=2, guidance=1.0), **how)
    assert made.shape == (batch.size, 3, 32, 32)
    assert halvings == []
