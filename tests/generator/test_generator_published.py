"""Published networks as backbones: against diffusers' own forward, what starts, what learns, what is saved."""

import dataclasses
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import diffusers
import huggingface_hub
import numpy as np
import pipelines
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file

from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError, LtaugError, OptionError
from ltaug.fields import resolve
from ltaug.generator.backbones.pretrained import PretrainedNetwork
from ltaug.generator.exporting import write_pipeline
from ltaug.generator.finding import find_pipeline
from ltaug.generator.fit import TrainingData, build_denoiser, build_trainee, draw_batch, fit
from ltaug.generator.generate import Generator
from ltaug.generator.pipeline import Pipeline
from ltaug.generator.step import prepare, train_step
from ltaug.generator.trainee import read_checkpoint, restore, save_checkpoint
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime

CPU = Runtime(torch.device("cpu"), None)
NAMES = ("dog", "zebra", "gnu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos():
    labels = np.repeat(np.arange(3), [6, 3, 1]).astype(np.int64)
    return ImageSet(np.random.RandomState(0).randint(0, 256, (10, 3, 16, 16)).astype(np.uint8), labels, NAMES, "photos")


@pytest.fixture(params=["dit", "dit of different blocks", "unet", "unconditional unet", "text unet"])
def published(request, tmp_path):
    """A pipeline whose network works on latents of the photos, or on their pixels."""
    network, vae = {
        "dit": lambda: (pipelines.dit(), pipelines.autoencoder()),
        "dit of different blocks": lambda: (pipelines.dit(shared=False), pipelines.autoencoder()),
        "unet": lambda: (pipelines.unet(), None),
        "unconditional unet": lambda: (pipelines.unet(classes=None), None),
        "text unet": lambda: (pipelines.text_unet(), pipelines.autoencoder()),
    }[request.param]()
    return pipelines.save(tmp_path / "pipeline", network, vae)


def opened(folder, **given) -> tuple[GeneratorOptions, Pipeline]:
    options = resolve(GeneratorOptions, {"pretrained": str(folder), "batch_size": 4, "steps": 4} | given, image_side=16)
    return options, find_pipeline(str(folder), download=False, tell=pytest.fail)


def trainee_of(folder, photos, **given):
    options, pipeline = opened(folder, **given)
    return prepare(build_trainee(options, photos, seed=0, device=CPU.device, pipeline=pipeline), options, CPU), options


def weights_digest(module) -> dict[str, bytes]:
    return {name: value.detach().numpy().tobytes() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("shared", [True, False])
def test_a_dit_gives_exactly_what_diffusers_own_forward_gives(tmp_path, shared):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.dit(shared=shared))
    names = ("house_cat", "Bird", "dog")
    network = PretrainedNetwork(Pipeline("p", folder), num_classes=3, class_names=names, how="full").eval()
    x, t = torch.randn(8, 4, 4, 4), torch.arange(8) * 111
    own = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    theirs = torch.tensor([0, 3, 1, len(pipelines.LABELS)])[own]  # cat, bird, dog, nobody
    expected = pipelines.dit(shared=shared)(x, t, theirs).sample[:, :4]
    found, features = network(x, t.float(), own)
    assert torch.equal(found, expected)
    assert features.shape == (8, network.feature_channels, 2, 2)
    assert network.carried == names


def test_a_unet_gives_exactly_what_diffusers_own_forward_gives(tmp_path):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.unet())
    network = PretrainedNetwork(Pipeline("p", folder), num_classes=2, class_names=("cow", "fish"), how="full").eval()
    x, t = torch.randn(4, 3, 8, 8), torch.arange(4) * 111
    expected = pipelines.unet()(x, t, torch.tensor([4, 2, 4, 2])).sample
    found, features = network(x, t.float(), torch.tensor([0, 1, 0, 1]))
    assert torch.equal(found, expected)
    assert features.shape == (4, network.feature_channels, 4, 4)


@pytest.mark.parametrize("shared", [True, False])
def test_in_training_a_dit_drops_no_label_by_itself(tmp_path, shared):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.dit(shared=shared))
    theirs, x, t = pipelines.dit(shared=shared).train(), torch.randn(1, 4, 4, 4), torch.tensor([500.0])
    label = torch.tensor([1])
    assert len({theirs(x, t, label).sample.detach().numpy().tobytes() for _ in range(60)}) > 1  # the trap is there
    network = PretrainedNetwork(Pipeline("p", folder), num_classes=3, class_names=NAMES, how="full").train()
    assert len({network(x, t, label)[0].detach().numpy().tobytes() for _ in range(50)}) == 1


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_noise_levels_are_those_of_the_scheduler(tmp_path, schedule):
    scheduler = diffusers.DDPMScheduler(beta_schedule=schedule, beta_start=0.00085, beta_end=0.012)
    folder = pipelines.save(tmp_path / "pipeline", pipelines.unet(), scheduler=scheduler)
    scheme = Pipeline("p", folder).preconditioning()
    found = (1 / (1 + scheme.sigmas.square())).float()
    torch.testing.assert_close(found, scheduler.alphas_cumprod, rtol=2e-5, atol=1e-9)


def test_v_prediction_gives_the_x0_and_the_eps_that_diffusers_gives(tmp_path):
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
    scheme = Pipeline("p", pipelines.save(tmp_path / "p", pipelines.unet(), scheduler=scheduler)).preconditioning()
    x0, eps, t = torch.randn(5, 3, 8, 8), torch.randn(5, 3, 8, 8), torch.tensor([0, 10, 500, 900, 999])
    v = scheduler.get_velocity(x0, eps, t)
    sigma = scheme.sigmas[t].float()
    found = scheme.outputs(x0 + sigma[:, None, None, None] * eps, sigma, v)
    torch.testing.assert_close(found[0], x0, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1], eps, atol=1e-5, rtol=1e-5)
    error = torch.randn_like(v)
    moved = scheme.outputs(x0 + sigma[:, None, None, None] * eps, sigma, v + error)[1] - found[1]
    weighted = scheme.loss_weight(sigma) * moved.square().mean((1, 2, 3))
    torch.testing.assert_close(weighted, error.square().mean((1, 2, 3)), rtol=1e-2, atol=0)  # the loss is that of v


def test_a_scheduler_of_edm_gives_its_preconditioning(tmp_path):
    scheduler = diffusers.EDMEulerScheduler(sigma_data=0.4, sigma_max=60.0)
    scheme = Pipeline("p", pipelines.save(tmp_path / "p", pipelines.unet(), scheduler=scheduler)).preconditioning()
    x, sigma = torch.randn(3, 3, 8, 8), torch.tensor([0.1, 1.0, 20.0])
    prediction = torch.randn_like(x)
    expected = torch.cat([scheduler.precondition_outputs(x[i], prediction[i], sigma[i])[None] for i in range(3)])
    torch.testing.assert_close(scheme.outputs(x, sigma, prediction)[0], expected, rtol=1e-4, atol=1e-5)
    image, noise_input = scheme.inputs(x, sigma)
    torch.testing.assert_close(image[1], scheduler.precondition_inputs(x[1], sigma[1]))
    torch.testing.assert_close(noise_input, 0.25 * sigma.log())
    assert scheme.grid(4)[0] == pytest.approx(60)


def test_new_classes_start_from_different_rows_and_cbdm_sees_that(tmp_path, photos):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.dit(), pipelines.autoencoder())
    strange = dataclasses.replace(photos, class_names=("emu", "zebra", "gnu"))
    trainee, options = trainee_of(folder, strange, objective="cbdm", batch_size=8)
    rows = trainee.denoiser.backbone.classes.weight
    assert min((rows[i] - rows[j]).norm() for i in range(3) for j in range(i)) > 0.1 * rows.norm(dim=1).mean()
    terms = first_terms(trainee, strange, options)
    assert terms["cbdm"] > 1e-3 * (terms["loss"] - terms["cbdm"])


def first_terms(trainee, images, options) -> dict[str, float]:
    data = TrainingData.on(CPU.device, images, space=trainee.denoiser.space, mirror=options.flip)
    batch = draw_batch(data, options, trainee.denoiser, step=0, seed=0)
    return {name: float(value) for name, value in train_step(trainee, batch, options, CPU, step=0).items()}


@pytest.mark.parametrize("objective", ["ddpm", "cbdm", "t2h+cbdm", "cbdm+coral"])
def test_every_objective_trains_every_published_network(published, photos, objective):
    trainee, options = trainee_of(published, photos, objective=objective)
    before = {name: value.clone() for name, value in trainee.denoiser.named_parameters()}
    assert all(np.isfinite(value) for value in first_terms(trainee, photos, options).values())
    moved = {name for name, value in trainee.denoiser.named_parameters() if not torch.equal(before[name], value)}
    assert "backbone.classes.weight" in moved
    assert moved <= {name for name, value in trainee.denoiser.named_parameters() if value.requires_grad}


@pytest.mark.parametrize("how", ["difffit", "full", "lora:2"])
def test_what_was_tuned_starts_as_published_and_is_all_that_is_saved(published, photos, how, tmp_path):
    trainee, options = trainee_of(published, photos, tune=how)
    plain = build_denoiser(
        dataclasses.replace(options, tune="full"),
        image_shape=photos.image_shape,
        num_classes=3,
        pipeline=opened(published)[1],
        class_names=NAMES,
    ).eval()
    shape = trainee.denoiser.space.shape_of(photos.image_shape)
    asked = (torch.randn(4, *shape), torch.full((4,), 0.7), torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(trainee.denoiser.eval()(*asked).x0, plain(*asked).x0)
    fit(trainee, photos, options, CPU, seed=0)
    save_checkpoint(tmp_path / "checkpoints", 4, trainee)
    state = read_checkpoint(tmp_path / "checkpoints" / "step-4")
    fixed = {name for name, value in trainee.denoiser.named_parameters() if not value.requires_grad}
    assert bool(fixed) == (how != "full")
    assert not fixed & (state["weights"].keys() | state["average"].keys())
    again, _ = trainee_of(published, photos, tune=how)
    restore(again, state)
    assert weights_digest(again.denoiser) == weights_digest(trainee.denoiser)
    assert weights_digest(again.ema.module) == weights_digest(trainee.ema.module)


@pytest.mark.parametrize("dropout", [0.0, 0.9])
def test_dropout_is_what_was_asked_for_and_none_by_default(published, photos, dropout):
    given = {"dropout": dropout} if dropout else {}
    network = trainee_of(published, photos, **given)[0].denoiser.train()
    rates = {module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {dropout} or rates == {dropout, 0.0}


def test_an_average_shares_what_does_not_learn(tmp_path, photos):
    trainee, _ = trainee_of(pipelines.save(tmp_path / "pipeline", pipelines.unet()), photos)
    pairs = zip(trainee.denoiser.parameters(), trainee.ema.module.parameters(), strict=True)
    for own, averaged in pairs:
        assert (own.data_ptr() == averaged.data_ptr()) == (not own.requires_grad)


def refused(folder, images) -> str:
    with pytest.raises(LtaugError) as error:
        trainee_of(folder, images)
    assert str(folder) in str(error.value)
    assert ";" in str(error.value)  # a remedy
    return str(error.value)


def test_what_is_no_whole_pipeline_is_refused(tmp_path, photos):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.dit(), pipelines.autoencoder())
    (folder / "scheduler" / "scheduler_config.json").unlink()
    assert "has no scheduler" in refused(folder, photos)
    (folder / "transformer" / "config.json").unlink()
    assert "transformer/config.json or unet/config.json" in refused(folder, photos)


def test_weights_that_are_torn_of_another_network_or_pickled_are_refused(tmp_path, photos):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.unet())
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "no whole weights" in refused(folder, photos)
    pipelines.unet(block_out_channels=(8, 24)).save_pretrained(tmp_path / "other")
    file.write_bytes((tmp_path / "other" / file.name).read_bytes())
    assert "weights of another network" in refused(folder, photos)
    pipelines.dit().save_pretrained(tmp_path / "another")
    file.write_bytes((tmp_path / "another" / file.name).read_bytes())
    assert "not those of its config.json" in refused(folder, photos)
    file.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"weight": os.system}))
    (folder / "unet" / "diffusion_pytorch_model.pkl").write_bytes(b"a pickle")
    assert "no whole weights as .safetensors" in refused(folder, photos)


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (diffusers.FlowMatchEulerDiscreteScheduler(), "scheduler of another kind"),
        (diffusers.DDPMScheduler(prediction_type="sample"), "sample"),
        (diffusers.DDIMScheduler(rescale_betas_zero_snr=True), "zero SNR"),
    ],
)
def test_schedulers_of_another_kind_are_refused(tmp_path, photos, scheduler, said):
    assert said in refused(pipelines.save(tmp_path / "p", pipelines.unet(), scheduler=scheduler), photos)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("scheduler/scheduler_config.json", {"beta_schedule": "linear", "beta_start": "low"}, "has no noise levels"),
        ("scheduler/scheduler_config.json", {"sigma_data": None}, "has no noise levels"),
        ("unet/config.json", {"_class_name": "UNet2DModel", "block_out_channels": 8}, "describes none"),
        ("unet/config.json", {"_class_name": "UNet2DModel", "norm_num_groups": 0}, "describes none"),
        ("unet/config.json", [1], "holds no configuration"),
        ("model_index.json", {"id2label": ["cat"]}, "does not number names"),
        ("model_index.json", {"id2label": {"cat": 0}}, "does not number names"),
    ],
)
def test_configurations_that_make_no_sense_are_refused_in_a_sentence(tmp_path, photos, file, content, said):
    folder = pipelines.save(tmp_path / "p", pipelines.unet())
    (folder / file).write_text(json.dumps(content))
    assert said in refused(folder, photos)


def test_a_name_beyond_the_published_rows_and_an_unreadable_card_say_nothing(tmp_path, photos):
    folder = pipelines.save(tmp_path / "p", pipelines.unet(), card="---\nlicense: [\n---\n")
    (folder / "model_index.json").write_text(json.dumps({"id2label": {"99": "dog", "1": "gnu"}}))
    trainee, _ = trainee_of(folder, photos)
    assert trainee.denoiser.backbone.carried == ("gnu",)
    assert Pipeline("p", folder).origin("generator", folder / "unet").licence is None


def test_images_that_do_not_fit_the_network_are_refused(tmp_path, photos):
    bad = dataclasses.replace(photos, images=photos.images[:, :, :, :8])
    assert "square" in refused(pipelines.save(tmp_path / "p", pipelines.dit(), pipelines.autoencoder()), bad)
    odd = dataclasses.replace(photos, images=np.ascontiguousarray(photos.images[:, :, :14, :14]))
    assert "--image-size 16" in str(refused_options(tmp_path / "p", odd))
    assert "4 channels, the images have 3" in refused(pipelines.save(tmp_path / "q", pipelines.dit()), photos)
    assert "takes images of 4 channels" in str(
        refused_options(pipelines.save(tmp_path / "r", pipelines.dit(), pipelines.autoencoder(in_channels=4)), photos)
    )


def refused_options(folder, images) -> LtaugError:
    with pytest.raises(LtaugError) as error:
        trainee_of(folder, images)
    return error.value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"augment": "ada"}, "--augment ada varies pixels"),
        ({"augment": "diffaug"}, "--augment diffaug varies pixels"),
        ({"objective": "cbdm+aid"}, "leave it out"),
    ],
)
def test_methods_that_look_at_pixels_are_refused_with_latents(tmp_path, photos, given, said):
    folder = pipelines.save(tmp_path / "p", pipelines.dit(), pipelines.autoencoder())
    with pytest.raises(OptionError, match=said):
        trainee_of(folder, photos, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channels": 64}, "--channels 64 is read only with --backbone unet"),
        ({"preconditioning": "edm"}, "is read only with no --pretrained"),
        ({"latent": "."}, "is read only with no --pretrained"),
        ({"backbone": "vit"}, "is read only with --backbone pretrained"),
        ({"tune": "lora:0"}, "lora:RANK"),
    ],
)
def test_options_of_a_new_network_are_refused_beside_a_published_one(tmp_path, given, said):
    with pytest.raises(OptionError, match=said):
        resolve(GeneratorOptions, {"pretrained": str(tmp_path)} | given, image_side=32)


def test_the_backbone_pretrained_needs_a_pipeline():
    with pytest.raises(OptionError, match="--pretrained"):
        resolve(GeneratorOptions, {"backbone": "pretrained"}, image_side=32)


@pytest.mark.parametrize("given", ["hf:name", "hf:a/b/c", "nowhere"])
def test_what_is_no_folder_and_no_name_is_refused(given):
    with pytest.raises((OptionError, DataError), match="folder"):
        resolve(GeneratorOptions, {"pretrained": given}, image_side=32)


class Hub:
    """What huggingface_hub asks of the hub, for one repository."""

    def __init__(self, folder, siblings):
        self.folder, self.siblings, self.asked = folder, siblings, []

    def model_info(self, name, **how):
        if self.siblings is None:
            raise ConnectionError("no network")
        files = [SimpleNamespace(rfilename=name, size=size) for name, size in self.siblings.items()]
        return SimpleNamespace(siblings=files, card_data=SimpleNamespace(license="cc-by-nc-4.0"))

    def snapshot_download(self, name, *, revision=None, local_files_only=False, allow_patterns=None):
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        self.asked.append((name, revision, allow_patterns))
        return str(self.folder)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = pipelines.save(tmp_path / "0123abc", pipelines.unet())
    siblings = {
        "README.md": 1000,
        "model_index.json": 1000,
        "unet/config.json": 1000,
        "unet/diffusion_pytorch_model.bin": 10**10,
        "unet/diffusion_pytorch_model.safetensors": 2 * 10**9,
        "unet/diffusion_pytorch_model.fp16.safetensors": 10**9,
        "vae/diffusion_pytorch_model.bin": 10**9,
        "scheduler/scheduler_config.json": 1000,
        "sd-v1.ckpt": 10**10,
    }
    own = Hub(folder, siblings)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: own)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", own.snapshot_download)
    return own


def test_without_download_a_repository_is_named_with_size_licence_and_both_remedies(hub):
    said = r"huggingface.co/org/name \(3.0 GB, licence: cc-by-nc-4.0\) is not on this machine; pass --download, or give a folder"
    with pytest.raises(DataError, match=said):
        find_pipeline("hf:org/name", download=False, tell=pytest.fail)
    hub.siblings = None
    with pytest.raises(DataError, match=r"size and licence unknown: no network.*--download, or give a folder"):
        find_pipeline("hf:org/name", download=False, tell=pytest.fail)


def test_with_download_the_weights_come_in_one_form_and_are_announced(hub):
    told = []
    found = find_pipeline("hf:org/name@main", download=True, tell=told.append)
    ((name, revision, files),) = hub.asked
    assert (name, revision, found.repository, found.revision) == ("org/name", "main", "org/name", "0123abc")
    left_out = {"unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "sd-v1.ckpt"}
    assert set(files) == set(hub.siblings) - left_out
    assert told == ["Downloading https://huggingface.co/org/name (3.0 GB, licence: cc-by-nc-4.0)."]
    assert found.origin("generator", found.folder / "unet").repository == "org/name"


def test_a_dit_of_before_diffusers_had_a_class_for_it_is_loaded_from_bin(tmp_path, photos):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.dit(), pipelines.autoencoder())
    file = folder / "transformer" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"_class_name": "Transformer2DModel", "use_linear_projection": False}))
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    before = weights_digest(trainee_of(folder, photos)[0].denoiser)
    weights.unlink()
    assert weights_digest(trainee_of(folder, photos)[0].denoiser) == before
    assert "transformer/diffusion_pytorch_model.bin" in Pipeline("p", folder).origin("x", folder / "transformer").files


def test_the_card_tells_licence_and_data(tmp_path):
    card = "---\nlicense: cc-by-nc-4.0\ndatasets:\n- imagenet-1k\n---\n# A model\n"
    folder = pipelines.save(tmp_path / "p", pipelines.unet(), card=card)
    origin = Pipeline("p", folder).origin("generator", folder / "unet")
    assert (origin.licence, origin.trained_on, origin.role) == ("cc-by-nc-4.0", "imagenet-1k", "generator")
    assert set(origin.files) == {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"}


@pytest.mark.parametrize("how", ["difffit", "full", "lora:2"])
@pytest.mark.parametrize("kind", ["dit", "dit of different blocks", "unet"])
def test_an_exported_pipeline_gives_in_diffusers_what_the_generator_gives(tmp_path, photos, kind, how):
    network = pipelines.unet() if kind == "unet" else pipelines.dit(shared=kind == "dit")
    folder = pipelines.save(tmp_path / "pipeline", network, None if kind == "unet" else pipelines.autoencoder())
    trainee, options = trainee_of(folder, photos, tune=how, lr=0.01)
    fit(trainee, photos, options, CPU, seed=0)
    denoiser = trainee.denoiser.eval()
    x, t, labels = torch.randn(4, *denoiser.space.shape_of(photos.image_shape)), torch.arange(4) * 250, torch.arange(4)
    expected = denoiser.backbone(x, t.float(), labels)[0].detach()
    generator = Generator(denoiser, NAMES, photos.image_shape, "", tmp_path / "run", 4)
    (tmp_path / "out").mkdir()
    write_pipeline(generator, Pipeline("p", folder), tmp_path / "out")
    cls = type(network)
    theirs = cls.from_pretrained(tmp_path / "out" / ("unet" if kind == "unet" else "transformer")).eval()
    torch.testing.assert_close(theirs(x, t, labels).sample[:, : x.shape[1]], expected, rtol=1e-4, atol=1e-5)
    if kind != "unet":
        pipeline = diffusers.DiTPipeline.from_pretrained(tmp_path / "out")
        assert pipeline.labels == {"dog": 0, "gnu": 2, "zebra": 1}
        images = pipeline(pipeline.get_label_ids(["gnu"]), num_inference_steps=2, guidance_scale=1.0, output_type="np").images
        assert images.shape == (1, 16, 16, 3)


def test_a_fit_without_published_weights_loads_neither_diffusers_nor_peft_and_no_fit_loads_scikit_learn():
    stages = "ltaug.stages.generator, ltaug.stages.synthesis, ltaug.stages.classifier"
    loads = f"import sys, {stages}; print({{'diffusers', 'peft', 'sklearn'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_without_diffusers_the_pip_line_is_said(tmp_path, photos, monkeypatch):
    folder = pipelines.save(tmp_path / "p", pipelines.unet())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"needs diffusers, which is not installed; pip install 'ltaug\[diffusers\]'"):
        trainee_of(folder, photos)
