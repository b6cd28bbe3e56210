"""README and docs: short where it is promised, and every link leads somewhere."""

import dataclasses
import importlib.util
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import ltaug

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/RESULTS.md"]


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_in_it(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_figure_of_the_gallery_is_shown_and_they_are_small():
    figures = list((ROOT / "docs/gallery").iterdir())
    page = (ROOT / "docs/gallery.md").read_text()
    assert not [figure for figure in figures if f"](gallery/{figure.name})" not in page]
    assert sum(figure.stat().st_size for figure in figures) < 300_000


def test_the_readme_has_at_most_130_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/site/hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_options_has_a_row_of_three_cells_for_every_option(hooks):
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in hooks.options_page().splitlines() if line.startswith("| `--")]
    assert {len(cells) for cells in rows} == {3}
    flags = [f"`--{f.name.replace('_', '-')}`" for cls in hooks.TABLES.values() for f in dataclasses.fields(cls)]
    assert [cells[0].strip() for cells in rows] == flags


def test_the_page_of_the_python_api_has_every_name_and_what_runs_can_do(hooks):
    page = hooks.api_page()
    assert not [name for name in ltaug.__all__ if f"\n## {name}\n" not in page]
    assert not [own for own in ("metrics", "images(", "sample(", "open(") if f"\nRunPath.{own}" not in page]


def test_links_on_the_site_lead_to_the_places_there(hooks):
    def shown(source, text):
        return hooks.on_page_markdown(text, SimpleNamespace(file=SimpleNamespace(src_uri=source)))

    assert shown("index.md", "[a](docs/usage.md#budgets), [b](benchmarks/RESULTS.md)") == "[a](usage.md#budgets), [b](RESULTS.md)"
    assert shown("RESULTS.md", "![p](../docs/report.png)") == "![p](report.png)"
    assert shown("usage.md", "[r](../recipes/folder.toml) [h](#here) [w](https://a.b/c)") == (
        "[r](recipes/folder.toml) [h](#here) [w](https://a.b/c)"
    )
    assert shown("methods.md", "[cbdm.py](../ltaug/generator/objectives/cbdm.py)") == "cbdm.py"


def test_the_citation_has_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "docs/citation.cff").read_text()
