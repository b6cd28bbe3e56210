"""The grid's images and nearest training images, and the features behind the plane, against direct computation."""

import shutil

import numpy as np
import pytest
import torch
from pictures import pixels_of, rows_of, shown_at

from ltaug.data.imageset import ImageSet
from ltaug.errors import DataError
from ltaug.figures import sheets as module
from ltaug.figures.features import draw_features, plane_of
from ltaug.figures.inputs import open_subjects
from ltaug.figures.options import FeaturesOptions, GridOptions
from ltaug.figures.separation import bottleneck, separation
from ltaug.figures.sheets import draw_grid
from ltaug.generator.generate import generate
from ltaug.generator.preconditioning import VP
from ltaug.generator.sampling import Sampling
from ltaug.generator.space import PIXELS
from ltaug.machine import Machine
from ltaug.stages import fit_generator

HOW = {"image_shape": (1, 8, 8), "seed": 4, "batch_size": 2}


def ignore(text, step, total):
    """Nobody watches."""


def rms(a, b):
    return np.sqrt(np.square(a.astype(float) - b).mean((-3, -2, -1)))


@pytest.fixture
def placed(monkeypatch):
    """The plates that were drawn, with where their images stand."""
    plates = []
    draw = module.plate
    monkeypatch.setattr(module, "plate", lambda *args, **kwargs: plates.append(draw(*args, **kwargs)) or plates[-1])
    return plates


def test_the_grid_shows_generated_images_above_the_nearest_by_brute_force(subjects, data, cpu, placed):
    chosen, strengths = [subjects["ddpm"], subjects["mirrored"]], (0.0, 2.0)
    options = GridOptions(strengths=(2.0, 0.0), guidance_interval=(0.1, 0.6), of_class="7", images=2, sample_steps=3)
    drawn = draw_grid(chosen, data.train, options, seed=4, runtime=cpu, progress=ignore)
    table, pixels = rows_of(drawn.files["figure.csv"]), pixels_of(drawn.files["figure.png"])
    assert len(table) == 2 * 2 * 2
    mirrored = []
    for row in table:
        block, column = int(row["row"]), int(row["column"])
        w, i = strengths[column // 2], column % 2
        assert (float(row["guidance"]), int(row["index"]), row["class"]) == (w, i, "7")
        how = {"sampling": Sampling(steps=3, guidance=w, interval=(0.1, 0.6)), **HOW}
        image = generate(chosen[block].generator.denoiser, [(7, 0), (7, 1)], runtime=cpu, **how)[i]
        assert (shown_at(pixels, placed[0].places[block, 0, column], image, 8) == image).all()
        plain, flipped = rms(image, data.train.images), rms(image, data.train.images[..., ::-1])
        distances = np.minimum(plain, flipped) if block == 1 else plain
        nearest = int(row["nearest_real"])
        assert distances[nearest] == pytest.approx(distances.min(), rel=1e-6)
        assert float(row["distance"]) == pytest.approx(distances.min(), rel=1e-4)
        assert row["nearest_class"] == data.train.class_names[data.train.labels[nearest]]
        flip = row["nearest_mirrored"] == "True"
        mirrored.append(flip)
        real = data.train.images[nearest][..., ::-1] if flip else data.train.images[nearest]
        assert (shown_at(pixels, placed[0].places[block, 1, column], real, 8) == real).all()
        assert rms(image, real) == pytest.approx(distances.min(), rel=1e-6)
    assert not any(mirrored[:4])
    assert any(mirrored[4:]), "a generator that saw mirrored images is held against them too"


def test_a_generator_started_from_one_that_saw_mirrored_images_is_held_against_them_too(runs, data, cpu, tmp_path):
    given = {"objective": "ddpm", "steps": 2, "warmup": 1}
    tuned = fit_generator({}, given, out=tmp_path / "tuned", source=runs["mirrored"], machine=Machine(device="cpu", threads=1))
    alone = shutil.copytree(tuned, tmp_path / "away" / "tuned")
    options = GridOptions(strengths=(0.0,), of_class="7", images=24, sample_steps=3)
    found = []
    for run in (tuned, alone):
        (subject,) = open_subjects([run], runtime=cpu)
        assert not subject.record.options.flip
        drawn = draw_grid([subject], data.train, options, seed=4, runtime=cpu, progress=ignore)
        found.append({row["nearest_mirrored"] for row in rows_of(drawn.files["figure.csv"])})
    assert found == [{"False", "True"}, {"False"}], "as far as the generator it was started from still lies there"


@pytest.mark.parametrize("told", [True, False])
def test_features_are_the_averaged_bottleneck_at_vps_level_whatever_the_preconditioning(subjects, data, cpu, told):
    for name in ("ddpm", "mirrored"):
        denoiser, some = subjects[name].generator.denoiser, data.train.take(np.arange(5))
        labels = some.labels if told else None
        found = bottleneck(denoiser, some.images, labels, timestep=100, seed=9, runtime=cpu)
        few = bottleneck(denoiser, some.images[:2], None if labels is None else labels[:2], timestep=100, seed=9, runtime=cpu)
        np.testing.assert_allclose(found[:2], few, atol=1e-5)
        sigma = float(VP().sigmas[100])
        assert sigma == pytest.approx((1 / np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:101]) - 1) ** 0.5)
        streams = bottleneck_noise(9, len(some))
        x = torch.from_numpy(some.images.astype(np.float32) / 127.5 - 1) + sigma * streams
        y = torch.from_numpy(some.labels) if told else torch.full((5,), 10)
        with torch.inference_mode():
            expected = denoiser(x, torch.full((5,), sigma), y).features.mean((2, 3))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def bottleneck_noise(seed, count):
    """The noise of the first images, each from its own stream."""
    from ltaug.runtime import derive_seed

    streams = [torch.Generator().manual_seed(derive_seed(seed, "features", i)) for i in range(count)]
    return torch.stack([torch.randn(1, 8, 8, generator=s) for s in streams])


def test_the_numbers_are_of_the_features_and_the_points_of_the_plane(subjects, data, cpu):
    options, train = FeaturesOptions(condition="none", neighbours=5), data.train
    drawn = draw_features([subjects["ddpm"]], train, train.class_counts, options, seed=1, runtime=cpu, progress=ignore)
    features = bottleneck(subjects["ddpm"].generator.denoiser, train.images, None, timestep=100, seed=1, runtime=cpu)
    points = rows_of(drawn.files["figure.csv"])
    plane = plane_of(features, perplexity=30, seed=1)
    np.testing.assert_allclose([[float(p["x"]), float(p["y"])] for p in points], plane, rtol=1e-4)
    assert [p["class"] for p in points] == [train.class_names[c] for c in train.labels]
    expected = separation(features, train.labels, num_classes=10, groups={"all": range(10)}, neighbours=5)
    numbers = rows_of(drawn.files["numbers.csv"])
    assert numbers[0]["scope"] == "all"
    assert float(numbers[0]["purity"]) == pytest.approx(expected.overall["purity"], rel=1e-5)
    assert float(numbers[0]["silhouette"]) == pytest.approx(expected.overall["silhouette"], rel=1e-4)
    assert [n["scope"] for n in numbers[1:4]] == ["many", "medium", "few"]
    assert len(numbers) == 4 + 10


def test_too_few_images_and_features_that_are_all_the_same_are_said(subjects, data, cpu):
    def draw(seen, denoiser=None):
        subject = subjects["ddpm"] if denoiser is None else Blind.of(subjects["ddpm"])
        return draw_features([subject], seen, seen.class_counts, FeaturesOptions(), seed=0, runtime=cpu, progress=ignore)

    with pytest.raises(DataError, match=r"5 images .* at least 6"):
        draw(data.train.take(np.arange(5)))
    with pytest.raises(DataError, match="features are the same for all 8 images; fit it longer"):
        draw(ImageSet(data.train.images[:8], data.train.labels[:8], data.train.class_names, "eight"), Blind)


class Blind:
    """A subject whose network sees nothing."""

    name = "blind"

    @classmethod
    def of(cls, subject):
        blind = cls()
        blind.generator = cls()
        blind.generator.denoiser = lambda x, sigma, labels: cls.seen(len(x))
        blind.generator.denoiser.space = PIXELS
        return blind

    @staticmethod
    def seen(count):
        seen = Blind()
        seen.features = torch.ones(count, 4, 2, 2)
        return seen
