"""Latents of a published autoencoder: against diffusers, their place in the cache, an experiment from photos to a report."""

import dataclasses
import json
from pathlib import Path

import diffusers
import numpy as np
import pipelines
import pytest
import torch
from PIL import Image

from ltaug import export_generator, fit_generator, synthesize
from ltaug.data.imageset import ImageSet
from ltaug.errors import MismatchError, OptionError
from ltaug.fields import resolve
from ltaug.files import file_digest
from ltaug.generator.finding import find_pipeline
from ltaug.generator.fit import build_denoiser
from ltaug.generator.generate import Generator, generate
from ltaug.generator.sampling import Sampling
from ltaug.generator.space import Latents, to_pixels
from ltaug.generator.steering import Guide, Start
from ltaug.machine import Machine
from ltaug.options import GeneratorOptions
from ltaug.runtime import Runtime

DEVICE = torch.device("cpu")
CPU = Runtime(DEVICE, None)
TINY = {"channels": 8, "channel_mults": [1, 2], "blocks": 1, "attention": [], "batch_size": 4, "warmup": 1, "checkpoint_every": 2}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "latents"


@pytest.fixture(params=[1, 3])
def photos(request):
    images = np.random.RandomState(0).randint(0, 256, (11, request.param, 16, 16)).astype(np.uint8)
    return ImageSet(images, np.zeros(11, np.int64), ("a", "b"), "photos")


@pytest.fixture(params=["kl", "tiny"])
def latents(request, photos):
    network = (pipelines.autoencoder() if request.param == "kl" else pipelines.tiny_autoencoder()).requires_grad_(False)
    return Latents(network, "digest", photos.image_shape[0])


def stored(latents, photos, *, mirror=True, said=None) -> torch.Tensor:
    tell = pytest.fail if said is None else said.append
    return torch.from_numpy(np.array(latents.stored(photos, mirror=mirror, device=DEVICE, tell=tell)))


def test_stored_latents_are_those_of_diffusers_with_their_scale(latents, photos):
    found = latents.x0(stored(latents, photos, said=[]), torch.zeros(11, dtype=torch.bool))
    x = torch.from_numpy(photos.images.copy()).float().div(127.5).sub(1).expand(-1, 3, -1, -1)
    coded = latents.autoencoder.encode(x)
    scale = latents.config.scaling_factor
    if hasattr(coded, "latents"):
        torch.testing.assert_close(found, coded.latents * scale, rtol=2e-3, atol=1e-4)
        return
    mean, std = coded.latent_dist.mean * scale, coded.latent_dist.std * scale
    torch.testing.assert_close(latents.encode(torch.from_numpy(photos.images)), mean)
    assert 0.8 < float(((found - mean) / std).std()) < 1.2


def test_mirrored_latents_are_those_of_the_mirrored_image(latents, photos):
    mirrored = torch.arange(11) % 2 == 1
    torch.manual_seed(0)
    found = latents.x0(stored(latents, photos, said=[]), mirrored)
    images = np.where(mirrored.numpy()[:, None, None, None], photos.images[..., ::-1], photos.images)
    torch.manual_seed(0)
    other = stored(latents, dataclasses.replace(photos, images=images), mirror=False, said=[])
    assert other.shape[1] == 1
    assert torch.equal(found, latents.x0(other, None))


def test_decoding_gives_the_channels_of_the_dataset_and_does_not_depend_on_company(latents, photos):
    x0 = latents.encode(torch.from_numpy(photos.images))
    images = latents.decode(x0)
    assert images.shape == photos.images.shape
    assert torch.equal(latents.decode(x0[3:4])[0], images[3])
    gradient = torch.autograd.functional.jacobian(lambda x: latents.decode(x).sum(), x0[:1])
    assert gradient.abs().sum() > 0


def test_latents_are_encoded_once_and_a_torn_entry_is_made_anew(latents, photos, own_cache):
    said = []
    first = stored(latents, photos, said=said)
    assert len(said) == 1
    assert torch.equal(stored(latents, photos), first)
    (entry,) = own_cache.iterdir()
    content = bytearray((entry / "array.npy").read_bytes())
    content[-3] ^= 1
    (entry / "array.npy").write_bytes(bytes(content))
    assert torch.equal(stored(latents, photos, said=said), first)
    assert len(said) == 2
    stored(latents, photos, mirror=False, said=said)
    stored(dataclasses.replace(latents, digest="another"), photos, said=said)
    stored(latents, dataclasses.replace(photos, images=255 - photos.images), said=said)
    assert (len(said), len(list(own_cache.iterdir()))) == (5, 4)


def test_starting_and_guiding_work_in_latents(photos, tmp_path):
    pipelines.autoencoder().save_pretrained(tmp_path / "vae")
    options = resolve(GeneratorOptions, TINY | {"latent": str(tmp_path / "vae")}, image_side=16)
    pipeline = find_pipeline(str(tmp_path / "vae"), download=False, tell=pytest.fail)
    denoiser = build_denoiser(options, image_shape=photos.image_shape, num_classes=2, pipeline=pipeline).eval()
    keys = [(0, 0), (1, 0), (0, 1)]
    how = {"image_shape": photos.image_shape, "seed": 0, "runtime": CPU, "sampling": Sampling(steps=4), "batch_size": 2}
    plain = generate(denoiser, keys, **how)
    assert plain.shape == (3, *photos.image_shape)
    assert np.array_equal(generate(denoiser, keys[1:2], **how)[0], plain[1])
    near = generate(denoiser, keys, start=Start(images=lambda asked: photos.images[: len(asked)], strength=1e-3), **how)
    decoded = to_pixels(denoiser.space.decode(denoiser.space.encode(torch.from_numpy(photos.images[:2])))).numpy()
    assert np.abs(near[:2].astype(int) - decoded).mean() < 3
    bright = Guide(criterion=lambda images, labels: images.flatten(1).mean(1), scale=0.3, every=1)
    assert generate(denoiser, keys, guide=bright, **how).mean() > plain.mean()


def photo_folder(tmp_path):
    rng = np.random.RandomState(0)
    for name, count in (("dog", 8), ("zebra", 4)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    return {"dataset": f"folder:{tmp_path / 'photos'}", "test_per_class": 1}


@pytest.fixture(params=["pretrained", "latent"])
def asked(request, tmp_path):
    folder = pipelines.save(tmp_path / "pipeline", pipelines.dit(), pipelines.autoencoder(), card="---\nlicense: mit\n---\n")
    own = {"batch_size": 4, "checkpoint_every": 2} if request.param == "pretrained" else TINY
    return photo_folder(tmp_path), own | {"steps": 4, request.param: str(folder)}


class StoppedError(Exception):
    pass


def test_a_fit_that_was_killed_ends_with_the_same_weights_and_its_images_are_made(asked, tmp_path, monkeypatch):
    dataset, given = asked
    machine = Machine(device="cpu", threads=1)
    whole = fit_generator(dataset, given, out=tmp_path / "whole", machine=machine)

    def stop(event):
        if event.text == "training the generator" and event.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit_generator(dataset, given, out=tmp_path / "again", machine=machine, listener=stop)
    again = fit_generator(dataset, given, out=tmp_path / "again", machine=machine)
    weights = "checkpoints/step-4/ema.safetensors"
    assert file_digest(whole / weights) == file_digest(again / weights)
    record = json.loads((whole / "run.json").read_text())
    roles = {"autoencoder"} | ({"generator"} if "pretrained" in given else set())
    assert {one["role"] for one in record["facts"]["outside"]} == roles
    assert {one["licence"] for one in record["facts"]["outside"]} == {"mit"}
    if "pretrained" in given:
        export_generator(whole, out=tmp_path / "exported")
        assert diffusers.DiTPipeline.from_pretrained(tmp_path / "exported").labels == {"dog": 0, "zebra": 1}
        assert "license: mit" in (tmp_path / "exported" / "README.md").read_text()
        with pytest.raises(MismatchError, match="give --to diffusers"):
            export_generator(whole, to="safetensors", out=tmp_path / "weights")
    else:
        export_generator(whole, to="safetensors", out=tmp_path / "exported")
        monkeypatch.chdir(tmp_path / "exported")
        made = {}
        exec(Path("README.md").read_text().split("```python")[1].split("```")[0], made)
        assert made["images"].shape == (16, 3, 16, 16)
    made = synthesize(whole, {"per_class_budget": 3, "sample_steps": 2}, out=tmp_path / "synthesis", machine=machine)
    assert len(list(made.glob("images/*/*.png"))) == 6
    further = fit_generator(dataset, {"steps": 2}, source=whole, out=tmp_path / "further", machine=machine)
    assert Generator.load(further, runtime=CPU).steps == 6


def test_what_the_images_do_not_allow_leaves_no_run(asked, tmp_path):
    dataset, given = asked
    with pytest.raises(OptionError, match="--image-size 12"):
        fit_generator(dataset | {"image_size": 13}, given, out=tmp_path / "run", machine=Machine(device="cpu", threads=1))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_generator_whose_autoencoder_changed_is_refused(asked, tmp_path):
    dataset, given = asked
    run = fit_generator(dataset, given, out=tmp_path / "run", machine=Machine(device="cpu", threads=1))
    pipelines.autoencoder(scaling_factor=0.7).save_pretrained(tmp_path / "pipeline" / "vae")
    with pytest.raises(MismatchError, match=r"is not what .* was fitted with"):
        Generator.load(run, runtime=CPU)
