"""A measure of generated images is a function and a line in MEASURES: a toy one is then everywhere that measures are shown."""

import csv
import json
from functools import partial

import numpy as np
import pytest

from ltaug.cli import main
from ltaug.figures.inputs import title_of
from ltaug.figures.sweep import Point, draw_sweep
from ltaug.metrics.measures import MEASURES, Measure

FEW = ["--samples", "40", "--sample-steps", "2", "--device", "cpu"]


def toy(given, notes):
    """How many images were generated: 40, or 4 of a class."""
    for suffix, ours, _ in given.parts():
        notes.note([f"toy{suffix}"], partial(np.shape, ours.labels))
    counts = np.bincount(given.generated.labels, minlength=given.train.num_classes)
    notes.note_classes("toy", counts.astype(float).tolist(), [""] * len(counts))


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    return out


def test_a_measure_in_the_registry_is_in_every_file_table_and_figure(fitted, classifier, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(MEASURES, "toy", Measure("images generated", "higher", toy, digits=1, about="It is a toy."))
    command = ["evaluate-generator", fitted, "--extractor", f"classifier:{classifier}", "--out", tmp_path / "eval", *FEW, "-q"]
    table = call(capsys, *command)
    (row,) = [line for line in table.splitlines() if "images generated" in line]
    assert row.split() == ["images", "generated", "40", "12", "16", "12", "higher"]

    found = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    by_group = {f"toy/{group}": 4.0 * len(members) for group, members in found["groups"].items()}
    assert {key: value for key, value in found["summary"].items() if key.startswith("toy")} == {"toy": 40.0, **by_group}
    with (tmp_path / "eval" / "per-class.csv").open() as file:
        assert [row["toy"] for row in csv.DictReader(file)] == ["4.0"] * 10

    brief = call(capsys, "report", classifier, tmp_path / "eval", "--out", tmp_path / "report", "-q")
    assert "40.0" in brief.split("classifier features against")[1]
    page, markdown, values = ((tmp_path / "report" / f"report.{kind}").read_text() for kind in ("html", "md", "json"))
    (generators,) = json.loads(values)["generators"]
    assert generators["rows"][0]["summary"]["toy"] == {"mean": 40.0, "sd": None, "n": 1}
    assert page.count('<th scope="col">Images generated\u00a0↑</th>') == 2  # of all classes and of the few-shot ones
    assert "<td>40.0</td>" in page
    lines = [[cell.strip() for cell in line.split("|")] for line in markdown.splitlines()]
    shown = {
        head[i]: row[i] for head, row in zip(lines, lines[2:], strict=False) for i in range(len(head)) if "generator" in head
    }
    assert (shown["Images generated\u00a0↑"], shown["few-shot images generated\u00a0↑"]) == ("40.0", "12.0")
    assert "It is a toy." in page
    assert "It is a toy." in markdown

    points = [Point(x, 0, found["summary"]) for x in (0.0, 1.0)]
    drawn = draw_sweep(points, setting="tau", axis_name="tau", extractor="classifier", terms="")
    assert "<!-- images generated (higher is better) -->" in drawn.files["figure.svg"].decode()
    assert "toy,0,40,,1,0" in drawn.files["figure.csv"].decode()


def test_every_measure_says_which_way_is_better_and_where_inceptions_names_belong():
    assert title_of("kid", "inception") == "KID (lower is better)"
    assert title_of("kid", "pixels") == "kernel distance (lower is better)"
    assert title_of("memorised_1", "pixels") == "memorised (nearer than 1 % of real) (0.01 is chance)"
