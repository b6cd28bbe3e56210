"""`ltaug grow` for real, on small sets: test images decide nothing, a killed loop resumes, mistakes are said in one sentence."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from forking import Python, fork_workers
from waiting import LONG, wait_for

import ltaug
from ltaug.cli import main
from ltaug.cli.grow import NUMBERS
from ltaug.errors import MismatchError, OptionError
from ltaug.options import ClassifierOptions, DatasetOptions, SynthesisOptions
from ltaug.pipeline.grow import Loop
from ltaug.records import HELD_OUT_FILE, MANIFEST_FILE
from ltaug.runs import read_run

COUNTS = (24, 12, 5, 1)
GENERATOR = {"steps": 30, "channels": 8, "batch_size": 16, "checkpoint_every": 30}
SMALL = {
    "synthesis": {"sample_steps": 2},
    "classifier": {"steps": 12},
    "per_round": 20,
    "max_rounds": 1,
    "folds": 2,
    "repeats": 2,
}
FLAGS = "--sample-steps 2 --steps 12 --per-round 20 --max-rounds 1 --folds 2 --repeats 2 --seeds 1 --workers 1"


def a_set(path: Path, *, noise: float, garbage: bool = False) -> Path:
    """Classes of one grey level each, with noise; test images likewise, or of random pixels."""
    rng = np.random.default_rng(0)

    def drawn(labels):
        levels = 40 + 60 * labels[:, None, None] + rng.normal(0, noise, (len(labels), 8, 8))
        return np.clip(levels, 0, 255).astype(np.uint8)

    labels, tested = np.repeat(np.arange(4), COUNTS), np.repeat(np.arange(4), 6)
    images, seen = drawn(labels), drawn(tested)
    if garbage:
        seen = np.random.default_rng(1).integers(0, 256, seen.shape, np.uint8)
    np.savez(path, images=images, labels=labels, test_images=seen, test_labels=tested)
    return path


def fitted(folder: Path, name: str, **about) -> Path:
    dataset = {"dataset": str(a_set(folder / f"{name}.npz", **about))}
    return ltaug.fit_generator(dataset, GENERATOR, out=folder / f"{name}-generator", seed=3)


@pytest.fixture(scope="module", autouse=True)
def _workers():
    with pytest.MonkeyPatch.context() as patching:
        fork_workers(patching)
        yield


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A loop that nothing interrupted: its folder, where the generator is too."""
    folder = tmp_path_factory.mktemp("grown")
    ltaug.grow(fitted(folder, "set", noise=90), out=folder / "out", seeds=1, workers=1, **SMALL)
    return folder


def rounds_of(out: Path) -> dict[str, bytes]:
    """What the rounds left: predictions, manifests and images."""
    names = (HELD_OUT_FILE, MANIFEST_FILE, "*.png")
    return {str(p.relative_to(out)): p.read_bytes() for n in names for p in sorted(out.glob(f"round-*/**/{n}"))}


@pytest.mark.slow
def test_each_round_is_in_the_report_with_budget_gain_and_cost(grown):
    report = json.loads((grown / "out/report/report.json").read_text())
    (growth,) = report["growth"]
    first, second = growth["rounds"]
    assert (first["wanted"], first["gain"]) == ({}, None)
    assert sum(second["wanted"].values()) == sum(second["kept"].values()) == 20
    assert second["wanted"]["3"] >= 1  # the only image of a class is never held out, so its recall counts as one half
    assert sum(first["confusion"]["3"].values()) == 0
    assert second["gain"]["n"] == 2
    assert second["gain"]["mean"] == pytest.approx(second["recall"] - first["recall"])
    assert min(first["processor"], second["processor"]) > 0
    for name in ("report.md", "report.html"):
        text = (grown / "out/report" / name).read_text()
        assert "How out grew" in text
        assert growth["stopped"].split("(")[0] in text
    arms = {"real", "real+synthetic", "resampled"} if growth["best"] else {"real"}
    assert {arm["name"] for arm in report["arms"]} == arms


@pytest.mark.slow
def test_a_test_set_of_garbage_changes_no_round(grown, tmp_path):
    generator = fitted(tmp_path, "set", noise=90, garbage=True)
    ltaug.grow(generator, out=tmp_path / "out", seeds=1, workers=1, **SMALL)
    honest = rounds_of(grown / "out")
    assert len(honest) >= 8 + 1 + 20
    assert rounds_of(tmp_path / "out") == honest
    digests = {read_run(f / "out/classifiers/real/seed-3")["inputs"]["test"]["digest"] for f in (grown, tmp_path)}
    assert len(digests) == 2


@pytest.mark.slow
def test_a_killed_loop_resumes_and_ends_as_if_nothing_had_happened(grown, tmp_path):
    shutil.copytree(grown / "set-generator", tmp_path / "set-generator")
    (tmp_path / "set.npz").symlink_to(grown / "set.npz")
    command = ("-m", "ltaug", "grow", str(tmp_path / "set-generator"), "--out", str(tmp_path / "out"), *FLAGS.split())
    process = Python(tmp_path, *command)
    wait_for((tmp_path / "out/round-0/fit-1-1/run.json").exists)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LONG)
    assert not (tmp_path / "out/report").exists()
    process = Python(tmp_path, *command, "--json")
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 0, err
    assert rounds_of(tmp_path / "out") == rounds_of(grown / "out")
    assert [r["number"] for r in json.loads(out)["growth"][0]["rounds"]] == [0, 1]
    assert "Round 1" in err


@pytest.mark.slow
def test_the_rounds_on_a_dask_cluster_leave_what_they_leave_on_this_machine(grown, tmp_path):
    distributed = pytest.importorskip("distributed")
    alone = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**alone, protocol="tcp://", host="127.0.0.1") as cluster:
        engine = f"dask:{cluster.scheduler_address}"
        ltaug.grow(grown / "set-generator", out=tmp_path / "out", seeds=1, engine=engine, **SMALL)
    assert rounds_of(tmp_path / "out") == rounds_of(grown / "out")


@pytest.mark.slow
def test_another_budget_in_the_same_directory_is_refused_and_names_the_difference(grown):
    asked = SMALL | {"per_round": 21}
    with pytest.raises(MismatchError, match=r"round-1/synthetic was made with other options .*per_class_budget"):
        ltaug.grow(grown / "set-generator", out=grown / "out", seeds=1, workers=1, **asked)


@pytest.mark.slow
def test_a_set_whose_classes_are_all_perfect_grows_no_images_and_says_so(tmp_path, capsys):
    generator = fitted(tmp_path, "easy", noise=0)
    flags = FLAGS.replace("--steps 12", "--steps 60 --batch-size 8").split()
    with pytest.raises(SystemExit) as ended:
        main(["grow", str(generator), "--out", str(tmp_path / "out"), *flags])
    assert ended.value.code == 0
    assert "so there is nothing left to gain; no synthetic images are used." in capsys.readouterr().err
    assert not (tmp_path / "out/round-1").exists()
    assert [p.name for p in (tmp_path / "out/classifiers").iterdir() if p.is_dir()] == ["real"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"per_round": 0}, "--per-round 0 must be at least 1"),
        ({"max_rounds": 0}, "--max-rounds 0 must be at least 1"),
        ({"folds": 1}, "--folds 1 must be at least 2"),
        ({"repeats": 1}, "--repeats 1 must be at least 2"),
        ({"folds": 1000, "repeats": 1000}, "--folds 1000 and --repeats 1000 are more than 10,000 classifiers in all"),
        ({"seeds": 10**9}, "--seeds 1000000000 must be .* at most 1,000"),
        ({"synthesis": {"per_class_budget": "fill:max"}}, "find out per-class-budget themselves"),
        ({"synthesis": {"gidance": 1}}, "unknown key 'gidance'"),
        ({"classifier": {"adjust_tau": 2.0}}, "read only with"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_refused_before_anything_is_read(asked, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        Loop(**{"generator": tmp_path, "out": tmp_path / "out", "synthesis": {}, "classifier": {}} | asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("weights", [{"model": "resnet18.a1_in1k", "pretrained": "hub"}, {}])
def test_the_judges_of_the_rounds_are_probes_of_the_weights_that_classifiers_start_from(tmp_path, weights):
    loop = Loop(generator=tmp_path, out=tmp_path, synthesis={"select_agreement": True}, classifier=weights)
    vars(loop)["made"] = SimpleNamespace(dataset=DatasetOptions(), seed=3)
    assert [task.kwargs.get("published", {}) for task in loop.judges()] == [weights] * 2


def test_an_option_of_grow_has_one_meaning_though_it_takes_those_of_two_stages():
    synthesis, classifier = ({f.name for f in dataclasses.fields(cls)} for cls in (SynthesisOptions, ClassifierOptions))
    assert not synthesis & classifier
    assert not (synthesis | classifier) & set(NUMBERS)
