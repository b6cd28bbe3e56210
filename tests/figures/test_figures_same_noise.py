"""The same noise is the same: what is followed equals what is generated, and classes start from one point."""

import numpy as np
import pytest
import torch
from pictures import rows_of

from ltaug.figures.denoising import draw_denoising, follow, follow_pair
from ltaug.figures.options import DenoisingOptions, SamplesOptions
from ltaug.figures.plate import told
from ltaug.figures.sheets import class_samples, draw_samples
from ltaug.generator.generate import ImageNoise, generate
from ltaug.generator.sampling import Sampling, bind
from ltaug.methods import SAMPLERS

SHAPE = (1, 8, 8)


@pytest.mark.parametrize("name", ["tau-1", "mirrored"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("guidance", "interval"), [(0.0, (0.0, 1.0)), (1.5, (0.0, 1.0)), (1.5, (0.2, 0.7))])
def test_what_is_followed_to_the_end_is_what_generate_makes(subjects, cpu, name, sampler, guidance, interval):
    denoiser, keys = subjects[name].generator.denoiser, [(0, 3), (9, 1), (4, 0)]
    options = {
        "image_shape": SHAPE,
        "seed": 5,
        "runtime": cpu,
        "sampling": Sampling(sampler=sampler, steps=5, guidance=guidance, interval=interval),
    }
    way = follow(denoiser, [c for c, _ in keys], keys, **options)
    assert (way.images == generate(denoiser, keys, batch_size=3, **options)).all()
    assert way.sigmas == tuple(denoiser.preconditioning.grid(5).tolist()[:-1])
    assert way.estimates.shape == (5, 3, *SHAPE)


def test_the_first_estimate_is_of_the_noise_itself(subjects, cpu):
    denoiser, keys = subjects["tau-1"].generator.denoiser, [(0, 0), (0, 1)]
    way = follow(denoiser, [7, 7], keys, image_shape=SHAPE, seed=2, runtime=cpu, sampling=Sampling(sampler="heun", steps=4))
    x = ImageNoise(keys, seed=2, image_shape=SHAPE, device=cpu.device)() * denoiser.preconditioning.prior_scale()
    with torch.inference_mode():
        expected = bind(denoiser, torch.tensor([7, 7]))(x, way.sigmas[0])
    assert (way.estimates[0] == expected.numpy()).all()


def test_the_second_class_starts_from_the_first_ones_noise(subjects, cpu):
    options = DenoisingOptions(noises=3, sample_steps=4, guidance=0.0)
    subject = subjects["ddpm"]
    pair = follow_pair(subject, (0, 9), options, seed=1, runtime=cpu)
    again = follow_pair(subject, (0, 0), options, seed=1, runtime=cpu)
    assert (again.distances == 0).all()
    assert (again.first.images == pair.first.images).all()
    assert (pair.distances > 0).all()
    a, b = pair.first.estimates[2, 1].astype(float), pair.second.estimates[2, 1].astype(float)
    assert pair.distances[2, 1] == pytest.approx(127.5 * np.sqrt(((a - b) ** 2).mean()))


def test_a_figure_guides_only_where_it_is_told_to(subjects, cpu):
    nowhere = {"guidance": 1.5, "guidance_interval": (0.9995, 1.0)}
    for how, same in ((nowhere, True), ({"guidance": 1.5}, False)):
        pairs = [
            follow_pair(subjects["ddpm"], (0, 9), DenoisingOptions(noises=2, sample_steps=4, **h), seed=1, runtime=cpu)
            for h in (how, {"guidance": 0.0})
        ]
        assert (pairs[0].first.estimates == pairs[1].first.estimates).all() == same
        sheets = [
            class_samples(subjects["ddpm"], [0], [[(0, 0), (0, 1)]], SamplesOptions(sample_steps=4, **h), seed=1, runtime=cpu)
            for h in (how, {"guidance": 0.0})
        ]
        assert (sheets[0][0] == sheets[1][0]).all() == same
    assert told(1.5, (0.2, 0.7)) == "guidance 1.5 at t/T 0.2 to 0.7"
    assert told(1.5, (0.0, 1.0)) == "guidance 1.5"
    assert told(0.0, (0.2, 0.7)) == "guidance 0"


def test_rows_of_a_sheet_are_generated_images_and_with_one_noise_the_first_row_still_is(subjects, cpu):
    subject, shown = subjects["tau-1"], [8, 0, 3]
    plain = SamplesOptions(per_class=4, guidance=1.0, sample_steps=3, sample_batch=5)
    own = [[(c, i) for i in range(4)] for c in shown]
    options = {"image_shape": SHAPE, "seed": 6, "runtime": cpu, "sampling": Sampling(steps=3, guidance=1.0)}
    rows = class_samples(subject, shown, own, plain, seed=6, runtime=cpu)
    flat = generate(subject.generator.denoiser, [key for keys in own for key in keys], batch_size=5, **options)
    assert (np.concatenate(rows) == flat).all()
    same = SamplesOptions(per_class=4, guidance=1.0, sample_steps=3, same_noise=True)
    rows = class_samples(subject, shown, [own[0]] * 3, same, seed=6, runtime=cpu)
    assert (rows[0] == generate(subject.generator.denoiser, own[0], batch_size=4, **options)).all()
    assert not (rows[1] == generate(subject.generator.denoiser, own[1], batch_size=4, **options)).all()


def test_the_sheets_table_names_every_image_and_its_noise(subjects, cpu):
    options = SamplesOptions(per_class=2, guidance=0.0, sample_steps=2, classes=("3", "0"), same_noise=True)
    table = rows_of(draw_samples(subjects["ddpm"], options, seed=4, runtime=cpu).files["figure.csv"])
    assert [(r["class"], r["index"], r["noise_class"], r["row"], r["column"]) for r in table] == [
        ("3", "0", "3", "0", "0"),
        ("3", "1", "3", "0", "1"),
        ("0", "0", "3", "1", "0"),
        ("0", "1", "3", "1", "1"),
    ]
    assert {r["seed"] for r in table} == {"4"}


def test_the_denoising_table_has_the_distances_that_are_drawn(subjects, cpu):
    options = DenoisingOptions(classes=("1", "8"), noises=4, columns=3, sample_steps=6, guidance=0.0)
    drawn = draw_denoising([subjects["ddpm"], subjects["mirrored"]], options, seed=0, runtime=cpu)
    table = rows_of(drawn.files["figure.csv"])
    assert len(table) == 2 * 2 * 6
    for name in ("ddpm", "mirrored"):
        pair = follow_pair(subjects[name], (1, 8), options, seed=0, runtime=cpu)
        rows = [r for r in table if r["generator"] == subjects[name].name and r["class"] == "1"]
        np.testing.assert_allclose([float(r["distance"]) for r in rows], pair.distances.mean(1), rtol=1e-5)
        np.testing.assert_allclose([float(r["sigma"]) for r in rows], pair.first.sigmas, rtol=1e-5)
        assert [r["column"] for r in rows] == ["0", "", "1", "", "", "2"]
        assert float(rows[-1]["to_final"]) == 0
