"""What stages return: paths that show what is in a run, and how results look in a notebook."""

import base64
import json
import os
import pickle
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import ltaug
from ltaug.data.imageset import ImageSet
from ltaug.data.load import Dataset
from ltaug.errors import CorruptError, MismatchError, OptionError
from ltaug.notebook import html_table
from ltaug.report import document
from ltaug.stages import made as stages_made
from ltaug.stages.made import RunPath

DATASET = {"dataset": "digits", "imbalance": 20, "head": 30}
SAMPLING = {"sample_steps": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, how = tmp_path_factory.mktemp("made"), {"machine": ltaug.Machine(device="cpu")}
    options = {"steps": 2, "channels": 8, "batch_size": 8}
    generator = ltaug.fit_generator(DATASET, options, out=folder / "generator", seed=7, **how)
    images = ltaug.synthesize(generator, {"per_class_budget": "2", **SAMPLING}, out=folder / "images", **how)
    classifiers = [
        ltaug.train_classifier(DATASET, {"steps": 2}, synthetic=added, arm=arm, seed=7, out=folder / arm, **how)
        for arm, added in (("real", None), ("<both>", images))
    ]
    report = ltaug.write_report(classifiers, out=folder / "report", **how)
    return SimpleNamespace(folder=folder, generator=generator, images=images, classifier=classifiers[0], report=report)


def test_a_run_is_a_path_wherever_it_goes_and_its_files_open_as_any(made):
    run, plain = made.generator, made.folder / "generator"
    assert isinstance(run, Path)
    assert run == plain
    assert {plain: 1}[run] == 1
    assert os.fspath(run) == str(plain)
    again = pickle.loads(pickle.dumps(run))
    assert (type(again), again) == (RunPath, run)
    for file in (run / "run.json", run.joinpath("run.json"), *run.glob("run.json")):
        assert json.loads(file.read_text())["stage"] == "fit-generator"
        for opened in (file.open(), file.open("rb")):
            with opened:
                assert json.load(opened)["stage"] == "fit-generator"
    with pytest.raises(FileNotFoundError):
        (run / "x").open()


def test_metrics_are_what_the_run_measured(made, tmp_path):
    assert made.classifier.metrics == json.loads((made.classifier / "metrics.json").read_text())
    assert made.images.metrics["kept"] == dict.fromkeys("0123456789", 2)
    with pytest.raises(CorruptError, match=r"run\.json"):
        _ = RunPath(tmp_path).metrics


def test_the_images_of_a_synthesis_have_their_labels(made):
    found = made.images.images()
    assert (found.images.shape, found.images.dtype) == ((20, 1, 8, 8), np.uint8)
    assert Counter(found.labels.tolist()) == dict.fromkeys(range(10), 2)
    with pytest.raises(MismatchError, match="is a fit-generator run; a synthesize run is needed here"):
        made.generator.images()


def test_samples_of_a_generator_are_the_first_candidates_of_its_synthesis(made):
    drawn, kept = made.generator.sample(2, **SAMPLING), made.images.images()
    order = np.argsort(kept.labels, kind="stable")
    np.testing.assert_array_equal(drawn.images, kept.images[order])
    np.testing.assert_array_equal(drawn.labels, kept.labels[order])
    other = made.generator.sample(1, seed=8, **SAMPLING)
    assert not np.array_equal(other.images, drawn.images[::2])
    with pytest.raises(MismatchError, match="a fit-generator run is needed here"):
        made.images.sample(1)
    with pytest.raises(OptionError, match="sample_step"):
        made.generator.sample(1, sample_step=3)


def test_runs_and_reports_open_in_the_browser(made, monkeypatch):
    opened = []
    monkeypatch.setattr(stages_made, "open_new_tab", opened.append)
    monkeypatch.setattr(document, "open_new_tab", opened.append)
    made.images.open()
    made.report.open()
    assert opened == [made.images.resolve().as_uri(), (made.folder / "report/report.html").resolve().as_uri()]
    assert Path(made.report) == made.folder / "report"
    assert repr(made.report) == f"Report({str(made.folder / 'report')!r})"


def test_a_notebook_shows_the_pictures_of_a_run_and_the_counts_of_a_synthesis(made, tmp_path):
    sheet = base64.b64encode((made.images / "contact-sheet.png").read_bytes()).decode()
    page = made.images._repr_html_()
    assert sheet in page
    assert page.count("<tr>") == 11
    assert "<td>9</td><td>2</td><td>2</td><td>2</td>" in page
    assert "<img" in made.generator._repr_html_()
    assert made.classifier._repr_html_() is None
    assert RunPath(tmp_path)._repr_html_() is None


def test_a_notebook_shows_the_counts_of_a_dataset_and_the_verdict_of_a_report(made):
    train = ImageSet(np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 0, 1]), ("cat", "dog"), "train")
    test = ImageSet(np.zeros((1, 1, 2, 2), np.uint8), np.array([1]), ("cat", "dog"), "test")
    page = Dataset(train, test, None, (), ())._repr_html_()
    assert "<tr><td>cat</td><td>2</td><td>0</td></tr><tr><td>dog</td><td>1</td><td>1</td></tr>" in page
    page = made.report._repr_html_()
    assert "&lt;both&gt; (best with)" in page
    assert "<both>" not in page
    assert "macro recall</th>" in page
    assert html_table(["a"], [["<b>"]]).endswith("<tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table></div>")
