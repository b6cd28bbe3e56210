"""docs/notebook.ipynb: its cells run, and what it shows is small."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[1] / "docs/notebook.ipynb"


def shown(source, names):
    """Run a cell; the value of its last line, as a notebook shows it, or None."""
    cell = ast.parse(source)
    last = cell.body.pop() if isinstance(cell.body[-1], ast.Expr) else None
    exec(compile(cell, str(NOTEBOOK), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


def test_the_cells_of_the_notebook_run_and_show_what_is_stored_with_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {}
    for number, cell in enumerate(cells):
        value = shown("".join(cell["source"]), names)
        if number == 0:
            assert {"FIT", "TRAIN", "SEEDS", "BUDGET"} <= names.keys()
            names |= {"FIT": 2, "TRAIN": 2, "SEEDS": 1, "BUDGET": "2"}
        stored = [output["data"] for output in cell["outputs"] if output["output_type"] == "execute_result"]
        assert [sorted(data) for data in stored] == (
            [] if value is None else [["text/html", "text/plain"]] if hasattr(value, "_repr_html_") else [["text/plain"]]
        )
        for data in stored:
            assert value._repr_html_() if "text/html" in data else repr(value)
    assert (tmp_path / "runs/notebook/report/report.html").is_file()


def test_the_notebook_is_small_and_names_no_place_of_the_machine_that_it_was_made_on():
    text = NOTEBOOK.read_text()
    assert len(text) < 150_000
    assert not [word for word in ("/tmp", "/home", "/root", "stderr") if word in text]
