"""`ltaug figure` from end to end: every figure drawn, reused, refused, and the same bytes when drawn again."""

import json

import numpy as np
import pytest
from pictures import rows_of

from ltaug import stages
from ltaug.cli import main
from ltaug.cli.figure import figure
from ltaug.generator import generate as generated
from ltaug.generator.generate import generate
from ltaug.generator.sampling import Sampling
from ltaug.machine import Machine

CPU = Machine(device="cpu", threads=1)
EVALUATED = {"extractor": "pixels", "samples": 40, "sample_steps": 2, "pairs": 2}


def call(capsys, *arguments):
    """Exit code, stdout and stderr of one figure command."""
    with pytest.raises(SystemExit) as ended:
        main(["figure", *map(str, arguments), "--device", "cpu", "--threads", "1"])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture(scope="module")
def evaluations(runs, tmp_path_factory):
    """Runs by the name of their generator."""
    folder = tmp_path_factory.mktemp("evaluations")
    return {
        name: stages.evaluate_generator(runs[name], EVALUATED, out=folder / name, machine=CPU)
        for name in ("ddpm", "tau-1", "tau-3")
    }


COMMANDS = {
    "samples": (["tau-1", "--per-class", 2, "--sample-steps", 2, "--sample-batch", 8], {"figure.png", "figure.csv"}),
    "denoising": (["ddpm", "tau-1", "--sample-steps", 4, "--noises", 2], {"figure.png", "figure.csv", "distance.svg"}),
    "features": (["ddpm", "tau-1", "--condition", "none"], {"figure.svg", "figure.csv", "numbers.csv"}),
    "grid": (["ddpm", "tau-1", "--strengths", "0,1", "--images", 2, "--sample-steps", 2], {"figure.png", "figure.csv"}),
    "guidance": (
        [
            "ddpm",
            "--strengths",
            "1,0",
            "--guidance-interval",
            "0,0.5",
            "--extractor",
            "pixels",
            "--samples",
            20,
            "--sample-steps",
            2,
        ],
        {"figure.svg", "figure.csv", "points.csv"},
    ),
    "tau": (["ddpm", "tau-1", "tau-3"], {"figure.svg", "figure.csv", "points.csv"}),
    "class-fid": (["ddpm", "tau-3"], {"figure.svg", "figure.csv"}),
}


def arguments_of(kind, runs, evaluations):
    known = evaluations if kind in ("tau", "class-fid") else runs
    return [known.get(a, a) for a in COMMANDS[kind][0]]


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_figure_is_drawn_with_its_data_reused_and_the_same_bytes_when_drawn_again(
    capsys, runs, evaluations, tmp_path, kind
):
    arguments, files = arguments_of(kind, runs, evaluations), COMMANDS[kind][1]
    code, out, err = call(capsys, kind, *arguments, "--out", tmp_path / "a", "--quiet")
    assert (code, err) == (0, "")
    assert f"{tmp_path / 'a'} is done." in out
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (record["stage"], record["status"], set(record["outputs"])) == ("figure", "finished", files)
    before = {name: (tmp_path / "a" / name).read_bytes() for name in files}
    assert rows_of(before["figure.csv"])
    code, out, _ = call(capsys, kind, *arguments, "--out", tmp_path / "a", "--quiet", "--json")
    assert json.loads(out)["already_done"] is True
    assert call(capsys, kind, *arguments, "--out", tmp_path / "b", "--quiet")[0] == 0
    assert {name: (tmp_path / "b" / name).read_bytes() for name in files} == before


def test_every_figure_explains_itself_with_an_example(capsys):
    assert set(figure.commands) == set(COMMANDS)
    for kind in COMMANDS:
        code, out, _ = call(capsys, kind, "--help")
        assert code == 0
        assert f"ltaug figure {kind} " in out.split("Options:")[0].split("Figure:")[0].split("Usage:")[1].split("\n", 1)[1]


def test_a_guidance_sweep_has_the_same_noise_at_every_strength_and_at_0_what_generate_makes(
    capsys, runs, subjects, tmp_path, monkeypatch, cpu
):

    calls = []

    def spied(denoiser, keys, **options):
        images = generate(denoiser, keys, **options)
        calls.append((options["sampling"].guidance, options["seed"], list(keys), images))
        return images

    monkeypatch.setattr(generated, "generate", spied)
    given = ["--strengths", "2,0", "--extractor", "pixels", "--samples", 20, "--sample-steps", 2, "--seed", 8, "-q"]
    assert call(capsys, "guidance", runs["tau-1"], *given, "--out", tmp_path / "g")[0] == 0
    (w0, seed0, keys0, plain), (w2, seed2, keys2, guided) = calls
    assert (w0, w2, seed0, seed2) == (0.0, 2.0, 8, 8)
    assert keys0 == keys2 == [(c, i) for c in range(10) for i in range(2)]
    expected = generate(
        subjects["tau-1"].generator.denoiser, keys0, image_shape=(1, 8, 8), seed=8, runtime=cpu, sampling=Sampling(steps=2)
    )
    assert (plain == expected).all()
    assert not np.array_equal(guided, plain)
    table = rows_of((tmp_path / "g" / "figure.csv").read_bytes())
    for w in ("0", "2"):
        measured = json.loads((tmp_path / "g.evaluations" / f"guidance-{w}" / "metrics.json").read_text())["summary"]["fid"]
        (drawn,) = [r["mean"] for r in table if r["measure"] == "fid" and r["guidance"] == w]
        assert float(drawn) == pytest.approx(measured, rel=1e-5)


def test_the_drawn_class_differences_are_those_of_the_evaluations(capsys, evaluations, tmp_path):
    assert call(capsys, "class-fid", evaluations["ddpm"], evaluations["tau-3"], "--out", tmp_path / "c", "-q")[0] == 0
    a, b = (json.loads((evaluations[n] / "metrics.json").read_text())["per_class"]["class_fid"] for n in ("ddpm", "tau-3"))
    table = rows_of((tmp_path / "c" / "figure.csv").read_bytes())
    assert [r["class"] for r in table] == [str(c) for c in range(10)]
    np.testing.assert_allclose([float(r["difference"]) for r in table], np.subtract(b, a), rtol=1e-3)


@pytest.fixture(scope="module")
def strange(fit):
    """A generator of the same images under another seed, and one of larger images."""
    return {
        "seed": fit("other-seed", seed=2, objective="ddpm", dataset={"dataset": "digits", "imbalance": 10, "head": 20}),
        "large": fit("large", objective="ddpm", dataset={"dataset": "digits", "imbalance": 10, "head": 20, "image_size": 16}),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["samples", "ddpm", "--classes", "0,12"], 2, "--classes: there is no class '12'; did you mean"),
        (["samples", "ddpm", "--classes", "1,1"], 2, "--classes 1,1 names a class twice"),
        (["samples", "ddpm", "--sampler", "dimm"], 2, "did you mean 'ddim'?"),
        (["samples", "ddpm", "--per-class", "0"], 2, "per-class = 0 must be between 1 and 1000"),
        (["denoising", "ddpm", "ddpm"], 2, "a generator is named twice"),
        (["denoising", "ddpm", "tau-1", "--classes", "1"], 2, "--classes 1 must be two classes, such as 0,9"),
        (["denoising", "ddpm", "large"], 5, "(1, 16, 16)"),
        (["grid", "ddpm", "seed"], 5, "was fitted to other training images"),
        (["grid", "ddpm", "--strengths", "1,1"], 2, "--strengths 1,1 names a strength twice"),
        (["grid", "ddpm", "--strengths", "none"], 2, "give at least 1, such as 0,1,2"),
        (["grid", "ddpm", "--class", "x"], 2, "--class: there is no class 'x'"),
        (["features", "ddpm", "seed"], 5, "was fitted to other training images"),
        (["guidance", "ddpm", "--strengths", "1"], 2, "--strengths 1: give at least 2"),
        (["guidance", "ddpm", "--extractor", "pixel"], 2, "did you mean 'pixels'?"),
        (["tau", "eval:ddpm"], 2, "figure tau is drawn from at least 2 evaluate-generator runs, 1 given"),
        (["tau", "ddpm", "tau-1"], 5, "is a fit-generator run"),
        (["class-fid", "eval:ddpm", "eval:tau-1", "eval:tau-3"], 2, "compares pairs of evaluations, 3 given"),
        (["class-fid", "eval:ddpm", "eval:ddpm"], 2, "an evaluation is named twice"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(capsys, runs, evaluations, strange, tmp_path, arguments, code, said):
    known = {**runs, **strange, **{f"eval:{name}": run for name, run in evaluations.items()}}
    ended, out, err = call(capsys, *[known.get(a, a) for a in arguments], "--out", tmp_path / "f", "-q")
    assert (ended, out) == (code, "")
    assert err.startswith("Error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_other_options_in_a_finished_directory_are_refused(capsys, runs, tmp_path):
    given = ["samples", runs["ddpm"], "--per-class", 1, "--sample-steps", 1, "--out", tmp_path / "s", "-q"]
    assert call(capsys, *given)[0] == 0
    code, _, err = call(capsys, *given, "--guidance", "1")
    assert code == 5
    assert "samples.guidance: 0.0 before, 1.0 now" in err


def test_an_evaluation_whose_generator_is_gone_is_said(capsys, evaluations, tmp_path):
    import shutil

    moved = [shutil.copytree(evaluations[name], tmp_path / "away" / name) for name in ("ddpm", "tau-1")]
    code, _, err = call(capsys, "tau", *moved, "--out", tmp_path / "t")
    assert code == 5
    assert "keep them together" in err
