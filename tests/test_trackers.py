"""Trackers: TensorBoard's files read back, and what the others' packages are told, with modules in their place."""

from __future__ import annotations

import json
import sys
from contextvars import ContextVar
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ltaug.cli import main
from ltaug.data.sheet import png_of
from ltaug.errors import LtaugError, OptionError
from ltaug.machine import Machine
from ltaug.methods import TRACKERS
from ltaug.runs import Event, open_run
from ltaug.stages import fit_generator, train_classifier, write_report

METRICS = {
    "summary": {"macro_recall": 0.5, "ece": None},
    "per_class": {"recall": [0.25, 0.75, 0.0], "support": [4.0, 4.0, 0.0]},
    "class_names": ["cat", "dog (wild)", "none tested"],
}
CURRENT: ContextVar[SimpleNamespace | None] = ContextVar("CURRENT", default=None)  # trackio.init finishes this one


class Fake:
    """A tracker's package; `told` holds (run, step, name, value), artefacts under "file"."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[tuple[str, int | None, str, object]] = []
        self.made: list[dict[str, object]] = []
        self.ended: list[str] = []

    def tell(self, run: str, values: dict[str, float], step: int | None = None) -> None:
        step = values.get("step") if step is None else step
        self.told += [(run, step, key, value) for key, value in values.items() if key != "step"]

    def init(self, project: str, *, name: str, id: str = "", **how: object) -> SimpleNamespace:
        """wandb.init and trackio.init, which are told of runs in the same way."""
        print("a word for the terminal")
        self.made.append({"project": project, "name": name, "id": id or name, **how})
        if self.name == "trackio" and CURRENT.get():
            CURRENT.get().finish()
        made = SimpleNamespace(
            define_metric=lambda name, step_metric: None,
            log=lambda values, step=None: self.tell(id or name, values, step),
            log_artifact=lambda path, name, type: self.told.append((id, None, "file", path.read_text())),
            finish=lambda: self.ended.append(id or name),
        )
        CURRENT.set(made)
        return made

    def client(self) -> SimpleNamespace:
        """mlflow.MlflowClient()."""

        def create_run(experiment: str, run_name: str) -> SimpleNamespace:
            self.made.append({"project": experiment, "name": run_name})
            return SimpleNamespace(info=SimpleNamespace(run_id=f"run {len(self.made)}"))

        return SimpleNamespace(
            create_run=create_run,
            log_metric=lambda run, key, value, step: self.tell(run, {key: value}, step),
            log_artifact=lambda run, path: self.told.append((run, None, "file", path.read_bytes().decode("latin1"))),
            set_terminated=self.ended.append,
        )

    def module(self) -> ModuleType:
        module = ModuleType(self.name)
        module.__spec__ = ModuleSpec(self.name, None)
        module.init = lambda project, **how: self.init(project, **how)
        module.Settings = dict
        module.Image = lambda path: ("picture", Path(path).read_bytes())
        module.MlflowClient = self.client
        module.set_experiment = lambda name: SimpleNamespace(experiment_id=name)
        return module


@pytest.fixture(params=["wandb", "mlflow", "trackio"])
def fake(request, monkeypatch):
    made = Fake(request.param)
    monkeypatch.setitem(sys.modules, request.param, made.module())
    return made


def opened(path: Path, name: str, label: str = "a/b"):
    how = {"seed": 0, "options": {}, "inputs": {}, "versions": {}, "device": {}}
    return open_run(path, stage="s", label=label, log=(), track=(name,), **how)


def test_a_tracker_has_figures_by_step_and_a_continued_run_as_the_same_and_what_was_measured(fake, tmp_path, capsys):
    with opened(tmp_path / "run", fake.name) as run:
        run.event("fitting", 1, 10)
        run.event("fitting", 5, 10, loss=2.0)
        with opened(tmp_path / "judge", fake.name, "judge") as judge:
            judge.event("fitting", 3, 3, loss=9.0)
        run.event("fitting", 6, 10, loss=1.5)
    with opened(tmp_path / "run", fake.name) as run:
        run.event("fitting", 10, 10, loss=1.0)
        (tmp_path / "run/metrics.json").write_text(json.dumps(METRICS))
        run.finish([])
    with opened(tmp_path / "run", fake.name):
        pass
    first, other = dict.fromkeys(run for run, *_ in fake.told)
    assert [told[1:] for told in fake.told if told[0] == other] == [(3, "loss", 9.0)]
    cat, dog = ("recall.cat", "recall.dog _wild_") if fake.name == "mlflow" else ("recall/cat", "recall/dog (wild)")
    end = [("macro_recall", 0.5), (f"class {cat}", 0.25), (f"class {dog}", 0.75)]
    assert [told[1:] for told in fake.told if told[0] == first] == [
        *((step, "loss", loss) for step, loss in ((5, 2.0), (6, 1.5), (10, 1.0))),
        *((10, name, value) for name, value in end),
    ]
    assert fake.ended == [other, first, first]
    assert {made["project"] for made in fake.made} == {"ltaug"}
    assert all(str(made["name"]).startswith(("a/b", "judge")) for made in fake.made)
    assert capsys.readouterr().out == ""


def test_a_run_without_figures_begins_nothing_and_a_report_is_an_artefact(fake, tmp_path):
    with opened(tmp_path / "run", fake.name) as run:
        run.event("A message.")
    assert fake.made == []
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {"run.json", ".lock"}
    (tmp_path / "report.html").write_text("<p>the report")
    TRACKERS[fake.name](tmp_path, "report").close()
    assert [told[2:] for told in fake.told] == [("file", "<p>the report")]
    assert len(fake.ended) == 1


def test_a_picture_is_handed_over_with_its_step(fake, tmp_path):
    file = tmp_path / "step-5.png"
    file.write_bytes(png_of(Image.new("L", (2, 2))))
    with opened(tmp_path / "run", fake.name) as run:
        run.tell(Event("a/b", "Samples.", 5, picture=file))
    content = file.read_bytes()
    as_file = (None, "file", content.decode("latin1"))
    assert [told[1:] for told in fake.told] == [as_file if fake.name == "mlflow" else (5, "preview", ("picture", content))]


@pytest.mark.parametrize("error", [ValueError, ConnectionError])
def test_what_a_tracker_refuses_is_one_sentence_with_its_name(fake, tmp_path, monkeypatch, error):
    def refuse(*args, **how):
        raise error("no account")

    module = sys.modules[fake.name]
    for name in ("init", "MlflowClient"):
        monkeypatch.setattr(module, name, refuse)
    with pytest.raises(LtaugError, match=rf"^--track {fake.name}: {error.__name__}: no account; set it up"):  # noqa: SIM117
        with opened(tmp_path / "run", fake.name) as run:
            run.event("fitting", 1, 10, loss=1.0)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_made(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as ended:
        main(["run", "digits-lt", "--track", name, "--out", str(tmp_path / "run")])
    assert ended.value.code == OptionError.exit_code
    sentence = f"Error: --track {name} needs {name}, which is not installed; pip install 'ltaug[{name}]'\n"
    assert capsys.readouterr().err == sentence
    assert not (tmp_path / "run").exists()


def test_tensorboard_has_the_losses_the_recall_of_every_class_and_the_report(tmp_path):
    machine = Machine(device="cpu", log=("jsonl",), track=("tensorboard",))
    out = train_classifier(
        given={"steps": 6, "batch_size": 4}, dataset={"imbalance": 10}, seed=0, out=tmp_path / "real", machine=machine
    )
    found = EventAccumulator(str(out / "tensorboard")).Reload()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], pytest.approx(line["loss"])) for line in lines if "loss" in line]
    assert len(losses) == 6
    assert [(event.step, event.value) for event in found.Scalars("loss")] == losses
    metrics = json.loads((out / "metrics.json").read_text())
    for name, recall in zip(metrics["class_names"], metrics["per_class"]["recall"], strict=True):
        (event,) = found.Scalars(f"class recall/{name}")
        assert (event.step, event.value) == (6, pytest.approx(recall))
    report = write_report([out], out=tmp_path / "report", machine=machine)
    (text,) = EventAccumulator(str(report.path / "tensorboard")).Reload().Tensors("report/text_summary")
    assert text.tensor_proto.string_val[0].decode() == (report.path / "report.md").read_text()


def test_tensorboard_has_the_previews_of_a_fit(tmp_path):
    machine = Machine(device="cpu", track=("tensorboard",), preview=2)
    options = {"steps": 4, "channels": 8, "batch_size": 4}
    out = fit_generator({"imbalance": 10}, options, out=tmp_path / "gen", machine=machine)
    pictures = EventAccumulator(str(out / "tensorboard")).Reload().Images("preview")
    assert [picture.step for picture in pictures] == [2, 4]
    with Image.open(out / "previews/step-4.png") as sheet:
        assert (pictures[1].width, pictures[1].height) == sheet.size
