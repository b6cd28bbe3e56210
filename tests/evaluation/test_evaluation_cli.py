"""The command: its table, its JSON, its plan."""

import json

import pytest

from ltaug.cli import main

FEW = ["--samples", "40", "--sample-steps", "2", "--device", "cpu"]


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def refuse(constant):
    raise AssertionError(f"{constant} in JSON")


def test_the_table_the_json_and_a_second_call(capsys, fitted, classifier, tmp_path):
    command = ["evaluate-generator", fitted, "--extractor", f"classifier:{classifier}", "--out", tmp_path / "eval", *FEW]
    code, out, err = call(capsys, *command)
    assert code == 0
    header = next(line for line in out.splitlines() if "measure" in line)
    assert header.split() == ["measure", "value", "many", "medium", "few", "better"]
    assert "40 generated images against 1297 of balanced, using classifier features" in out
    assert "Note: " in out
    assert "Not measured: F8 (recall), F1/8 (precision): " in out
    assert "[0]" not in out  # single classes are for the table by class
    assert "sampling 40/40" in err
    code, out, _ = call(capsys, *command, "--json")
    assert code == 0
    found = json.loads(out, parse_constant=refuse)
    assert found["already_done"] is True
    assert found == json.loads((tmp_path / "eval" / "metrics.json").read_text()) | {
        "run": str(tmp_path / "eval"),
        "already_done": True,
    }
    assert found["summary"]["fid"] > 0


def test_a_dry_run_says_the_plan_and_writes_nothing(capsys, fitted, tmp_path):
    command = ["evaluate-generator", fitted, "--out", tmp_path / "eval", "--dry-run", "--sample-batch", "8", *FEW]
    code, out, _ = call(capsys, *command)
    assert code == 0
    assert "evaluate-generator would write" in out
    assert "training a classifier to do so, come on top" in out
    code, out, _ = call(capsys, *command, "--json")
    assert (code, json.loads(out)["images"], json.loads(out)["steps"]) == (0, 40, 5)
    assert list(tmp_path.iterdir()) == []


def test_missing_weights_are_one_line_with_the_flags(capsys, fitted, tmp_path):
    folder = ["--data-dir", tmp_path / "data", "--out", tmp_path / "eval"]
    code, _, err = call(capsys, "evaluate-generator", fitted, "--extractor", "inception", *folder, *FEW, "--quiet")
    assert code == 3
    assert "pass --download" in err
    assert "--weights" in err
    assert err.count("\n") == 1
    code, _, err = call(
        capsys, "evaluate-generator", fitted, "--extractor", "dinov2", "--weights", fitted / "run.json", *folder, *FEW, "--quiet"
    )
    assert code == 5
    assert "begins" in err
    assert list(tmp_path.iterdir()) == []
