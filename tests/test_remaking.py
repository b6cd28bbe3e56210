"""The command that `ltaug check` names for a damaged run is the one that made it: with the run in place it finds it done."""

import re
import shlex
import shutil

import pytest

from ltaug import stages
from ltaug.cli import commands, main
from ltaug.pipeline import claim
from ltaug.stages.remaking import remake

pytestmark = pytest.mark.slow
DATASET = ["--dataset", "digits", "--head", "20", "--test-per-class", "5"]
FIT = ["--backbone", "vit", "--depth", "2", "--width", "8", "--heads", "1", "--steps", "10", "--batch-size", "16"]
SAMPLED = ["--sample-steps", "2", "--guidance", "0.5", "--guidance-interval", "0.2,0.7"]


def call(*words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--device", "cpu", "--threads", "1"])
    assert ended.value.code == 0, words


@pytest.fixture(scope="module", autouse=True)
def _here():
    """Classifiers are trained in this process, as each worker would load torch first."""

    def run_here(tasks, *, out, what, machine, **how):
        with claim(out, what, tasks):
            for task in tasks:
                getattr(stages, task.function)(**task.kwargs, machine=machine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "run_planned", run_here)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs of every stage by commands, in a directory whose name a shell would take apart."""
    root = tmp_path_factory.mktemp("a set")
    fit = ["fit-generator", *DATASET, *FIT, "--objective", "cbdm", "--tau", "0.5", "--seed", "3", "--flip"]
    call(*fit, "--out", root / "gen")
    call("fit-generator", "--from", root / "gen", "--steps", "5", "--batch-size", "16", "--out", root / "tuned")
    sampled = [root / "tuned", *SAMPLED]
    call("synthesize", *sampled, "--per-class-budget", '{"9": 3, "8": 2}', "--out", root / "syn")
    call("evaluate-generator", *sampled, "--samples", "20", "--extractor", "pixels", "--out", root / "eval")
    learnt = ["--steps", "4", "--lr", "0.02", "--loss", "logit-adjusted"]
    judge = root / "clf/real/seed-3"
    taught = ["--distill", "synthetic", "--teacher", judge, "--no-baseline", "--seeds", "2"]
    call("train-classifier", *learnt, "--synthetic", root / "syn", "--arm-name", "few", "--out", root / "clf")
    call("train-classifier", *taught, *learnt, "--synthetic", root / "syn", "--out", root / "taught")
    chosen = ["--per-class-budget", "2", "--select-confidence", "0,1", "--judges", "1", "--judge", judge]
    call("synthesize", *sampled, *chosen, "--out", root / "judged")
    return root


def test_the_command_of_every_run_finds_it_done(made):
    named = {}
    for path in sorted(made.rglob("run.json")):
        before = path.read_bytes()
        (command,) = re.findall("^run `(.*)`$", remake(path.parent))
        named[path.parent.relative_to(made).as_posix()] = command
        call(*shlex.split(command)[1:])
        assert path.read_bytes() == before, command
    assert {name for name, command in named.items() if " --flip " in command} == {"gen"}
    assert remake(made / "syn.judges/judge-0") == f"run `{named['syn']}`", "judges are made by the run that they stand beside"
    assert {"clf/real/seed-3", "clf/resampled-few/seed-3", "taught/real+synthetic/seed-4"} <= named.keys()


def test_a_deleted_run_is_the_same_when_its_command_has_made_it_again(made, tmp_path):
    root = shutil.copytree(made, tmp_path / "copy")
    run = root / "clf/resampled-few/seed-3"
    weights = (run / "weights.safetensors").read_bytes()
    words = shlex.split(remake(run).split("`")[1])[1:]
    shutil.rmtree(run)
    call(*words)
    assert (run / "weights.safetensors").read_bytes() == weights
