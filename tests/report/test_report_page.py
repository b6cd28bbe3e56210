"""The written report: the page stands alone, all three files hold the same numbers, figures hold many classes."""

import csv
import dataclasses
import hashlib
import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from killing import killed_at_every_write
from PIL import Image

from ltaug.data.shards import SHARDS_FILE, Sample, Shard, shards_to_csv, tar_of
from ltaug.errors import CorruptError, DataError, RunExistsError
from ltaug.records import SynthesisRecord
from ltaug.report import build_report, figures
from ltaug.report.gallery import gallery, strip


class Page(HTMLParser):
    """Collects ids, images without alt text and every address on a page, and checks that tags nest."""

    VOID = ("meta", "img", "br", "wbr", "link", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.silent, self.tags = [], [], [], [], set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[k] for k in ("src", "href", "xlink:href") if k in given]
        self.silent += [tag] if tag == "img" and not given.get("alt") else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def report(small_experiment, tiny_real, tmp_path):
    return build_report([small_experiment()], out=tmp_path / "report", load_train=lambda options, seed: tiny_real)


def test_the_page_stands_alone(report):
    text = (report.path / "report.html").read_text()
    page = Page(text)
    assert text.count("<script") == 1
    assert "<script>" in text
    assert "link" not in page.tags
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in page.addresses)
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{i}" for i in page.ids}
    assert page.silent == []


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_in_a_browser_a_click_sorts_a_table_and_a_third_one_restores_it_and_each_is_there_as_csv(report, tmp_path):
    clicks = """<script>
        const table = [...document.querySelectorAll("table")].find(t => t.tHead.innerText.includes("Real images"));
        const [name, , count] = table.tHead.rows[0].cells, found = [];
        for (const head of [name, name, name, count, count]) {
            head.click();
            found.push([head.ariaSort, [...table.tBodies[0].rows].map(row => text(row.cells[0])).join("")].join(" "));
        }
        found.push(number("2.0 processor min"), number("1,234"), text(table.rows[3].cells[5]));
        const csv = decodeURIComponent(table.nextElementSibling.href).split("\\n");
        document.body.innerHTML = `<pre>${JSON.stringify([...found, csv[0], csv.length])}</pre>`;
    </script></body>"""
    page = tmp_path / "clicked.html"
    page.write_text((report.path / "report.html").read_text().replace("</body>", clicks))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path / 'browser'}"]
    browser = ["chromium", *flags, "--dump-dom", page.as_uri()]
    shown = subprocess.run(browser, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(html.unescape(re.search("<pre>(.*)</pre>", shown.stdout)[1]))
    columns = ["Class", "Group", "Real images", "Recall before", "after", "gain", "Precision before", "after", "gain"]
    head = "data:text/csv;charset=utf-8," + ",".join(f'"{column}"' for column in columns)
    orders = ["ascending abc", "descending cba", " abc", "descending abc", "ascending cba"]
    assert found == [*orders, 120, 1234, "-0.017 [-0.088, +0.055]", head, 5]


def test_ids_on_the_page_are_unique_and_every_reference_has_its_target(report):
    page = Page((report.path / "report.html").read_text())
    assert len(page.ids) == len(set(page.ids))
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)


def test_page_markdown_and_json_hold_the_same_numbers(report):
    page = (report.path / "report.html").read_text()
    markdown = (report.path / "report.md").read_text()
    values = json.loads((report.path / "report.json").read_text())
    arm = next(a for a in values["arms"] if a["name"] == "cbdm")
    difference = arm["against_baseline"]["macro_recall"]
    assert difference["mean"] == pytest.approx(0.2)
    assert arm["summary"]["macro_recall"] == pytest.approx({"mean": 0.8, "sd": 0.1, "n": 3})
    for text in (page, markdown):
        assert report.verdict.headline in text
        assert "+0.200" in text
        assert f"[−{abs(difference['low']):.3f},\u00a0+{difference['high']:.3f}]" in text
        assert all(p.text.replace("'", "&#39;") in text or p.text in text for p in report.verdict.points)
    assert values["verdict"]["headline"] == report.verdict.headline


def test_every_metric_of_the_runs_reaches_the_report_by_its_own_name(report):
    groups = tuple(f"{measure}/{group}" for group in ("many", "medium", "few") for measure in ("recall", "precision"))
    assert report.metrics == ("macro_recall", "macro_precision", "macro_f1", "accuracy", "ece", *groups)
    assert "| recall, few |" in (report.path / "report.md").read_text()


def test_markdown_tables_have_equal_rows(report):
    for table in re.findall(r"(?:^\|.*\n)+", (report.path / "report.md").read_text(), flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_no_machine_path_and_no_picture_is_in_the_json(report, tmp_path):
    for name in ("report.json", "report.html", "report.md"):
        assert str(tmp_path) not in (report.path / name).read_text()
    assert "base64" not in (report.path / "report.json").read_text()


def test_the_same_runs_give_the_same_page(report, small_experiment, tiny_real, tmp_path):
    again = build_report([tmp_path / "runs"], out=tmp_path / "again", load_train=lambda options, seed: tiny_real)
    for name in ("report.html", "report.md", "report.json"):
        assert (again.path / name).read_bytes() == (report.path / name).read_bytes()


def test_the_gallery_shows_the_nearest_copies_with_their_distances(report, tmp_path):
    with (tmp_path / "runs" / "cbdm" / "seed-0" / "synthetic" / "manifest.csv").open() as file:
        kept = [row for row in csv.DictReader(file) if row["verdict"] == "kept"]
    assert [c.distance for c in report.gallery.copies] == sorted(float(r["nearest_distance"]) for r in kept)
    assert [(r.class_name, r.real_count, r.synthetic_count) for r in report.gallery.rows] == [
        ("a", 3, 0),
        ("b", 2, 1),
        ("c", 1, 2),
    ]
    assert report.gallery.rows[0].synthetic == ""


def test_a_missing_synthetic_image_is_named(small_experiment, tiny_real, tmp_path):
    root = small_experiment()
    (root / "cbdm" / "seed-0" / "synthetic" / "images" / "c" / "00000.png").write_bytes(b"")
    with pytest.raises(CorruptError, match=r"00000\.png is not a readable image"):
        build_report([root], out=tmp_path / "report", load_train=lambda options, seed: tiny_real)


def test_the_gallery_of_shards_is_that_of_folders(small_experiment, tiny_real):
    synthesis = small_experiment() / "cbdm" / "seed-0" / "synthetic"
    shown = gallery(SynthesisRecord.read(synthesis), tiny_real, arm="cbdm", seed=0)
    keys = [p.relative_to(synthesis / "images").with_suffix("") for p in sorted(synthesis.rglob("*.png"))]
    tar, content = (
        "shards/000000-0-of-1.tar",
        tar_of(Sample(str(key), (synthesis / "images" / f"{key}.png").read_bytes(), 0, {}) for key in keys),
    )
    (synthesis / "shards").mkdir()
    (synthesis / tar).write_bytes(content)
    (synthesis / SHARDS_FILE).write_bytes(shards_to_csv([Shard(tar, len(keys), hashlib.sha256(content).hexdigest())]))
    manifest = synthesis / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("images/", f"{tar}/"))
    shutil.rmtree(synthesis / "images")
    record = dataclasses.replace(SynthesisRecord.read(synthesis), outputs={})
    assert gallery(record, tiny_real, arm="cbdm", seed=0) == shown
    assert any(row.synthetic for row in shown.rows)


@pytest.mark.parametrize("damage", ["halved manifest", "another image"])
def test_a_synthesis_that_was_changed_since_is_not_shown(damage, small_experiment, tiny_real, tmp_path):
    root = small_experiment()
    manifest = root / "cbdm" / "seed-0" / "synthetic" / "manifest.csv"
    if damage == "halved manifest":
        manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:3]))
    else:
        Image.new("L", (8, 8), 7).save(next(manifest.parent.rglob("*.png")))
    with pytest.raises(CorruptError, match=r"manifest\.csv is damaged|its pixels are not those in the manifest"):
        build_report([root], out=tmp_path / "report", load_train=lambda options, seed: tiny_real)


def test_parts_that_are_missing_are_left_out_with_a_sentence(small_experiment, tiny_real, tmp_path):
    root = small_experiment()
    without = build_report([root], out=tmp_path / "a", load_train=None)
    assert without.gallery is None
    assert "no images are shown" in (tmp_path / "a" / "report.html").read_text()
    other = dataclasses.replace(tiny_real, source="elsewhere", labels=tiny_real.labels[::-1].copy())
    changed = build_report([root], out=tmp_path / "b", load_train=lambda options, seed: other)
    assert "digests differ" in changed.notes["images"][0]
    (root / "cbdm" / "seed-0" / "synthetic").rename(tmp_path / "elsewhere")
    moved = build_report([root], out=tmp_path / "c", load_train=lambda options, seed: tiny_real)
    assert "no longer lie" in moved.notes["images"][0]
    assert moved.notes["selection"] == ()
    for seed in (1, 2):
        (root / "cbdm" / f"seed-{seed}" / "synthetic").rename(tmp_path / f"elsewhere-{seed}")
    lost = build_report([root], out=tmp_path / "d", load_train=None)
    assert "What was generated and kept for cbdm is not known" in (lost.path / "report.md").read_text()


@pytest.mark.parametrize("synthetic", [None, [0, 1, 2]])
def test_one_run_alone_is_still_a_report(lab, tmp_path, synthetic):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1], synthetic_counts=synthetic)
    report = build_report([lab.root], out=tmp_path / "report", load_train=None)
    Page((report.path / "report.html").read_text())
    assert report.verdict.outcome == "none"


def test_markdown_means_nothing_in_names_and_titles(lab, tmp_path):
    names = ["<img src=x onerror=alert(1)>", "[a](http://b) `c` | *d*", "_e_ & f_g", "# h\n- i"]
    arm = "~x~ <b>"
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2, 0.1], counts=[4, 3, 2, 1], names=names)
    lab.classifier(arm, 0, recall=[0.9, 0.5, 0.2, 0.2], counts=[4, 3, 2, 1], names=names, synthetic_counts=[0, 1, 2, 3])
    build_report([lab.root], out=tmp_path / "report", load_train=None, title="<script> & *more*")
    markdown = (tmp_path / "report/report.md").read_text()
    assert markdown.startswith("# &lt;script&gt; &amp; \\*more\\*\n")
    assert not re.search("[<>]", markdown)
    for shown in (r"[a\](http://b) \`c\` \| \*d\*", r"\_e\_ &amp; f_g", r"\# h - i", r"\~x\~ &lt;b&gt;"):
        assert shown in markdown
    assert not re.search(r"(?<!\\)~|(?<!\\)\]\(", markdown)


def test_what_is_known_of_how_the_dataset_was_read_is_said_once(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "notes", ["images converted: 16 bits to 8 (2)"])
    for seed in range(2):
        lab.classifier("real", seed, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])
    report = build_report([lab.root], out=tmp_path / "report", load_train=None)
    assert report.notes["reading"].count("The dataset: images converted: 16 bits to 8 (2).") == 1


def test_a_seed_an_arm_lacks_is_said(lab, tmp_path):
    for seed in range(3):
        lab.classifier("real", seed, recall=[0.9, 0.5, 0.2 + 0.1 * seed], counts=[3, 2, 1])
    for seed in range(2):
        lab.classifier("syn", seed, recall=[0.9, 0.6, 0.5], counts=[3, 2, 1], synthetic_counts=[0, 1, 2])
    report = build_report([lab.root], out=tmp_path / "report", load_train=None)
    assert any("syn was not run for 1 seed (2)" in note for note in report.notes["reading"])
    assert report.arms[1].against_baseline["macro_recall"].n == 2


def test_an_earlier_report_is_replaced_and_anything_else_is_left_alone(lab, tmp_path):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])
    build_report([lab.root], out=tmp_path / "report", load_train=None)
    build_report([lab.root], out=tmp_path / "report", load_train=None, title="Second <edition>")
    assert "Second &lt;edition&gt;" in (tmp_path / "report" / "report.html").read_text()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("mine")
    with pytest.raises(RunExistsError, match="not a report"):
        build_report([lab.root], out=tmp_path / "notes", load_train=None)
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["thesis.txt"]


def test_every_state_that_a_kill_can_leave_of_a_report_is_replaced(lab, tmp_path, monkeypatch):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])
    moments = killed_at_every_write(monkeypatch, tmp_path / "report", tmp_path / "moments")
    build_report([lab.root], out=tmp_path / "report", load_train=None)
    monkeypatch.undo()
    assert len(moments) >= 3 * 3
    for moment in moments:
        build_report([lab.root], out=moment, load_train=None)
        assert {p.name for p in moment.iterdir()} <= {"report.json", "report.html", "report.md", ".lock"}


def test_events_name_what_is_left_out(lab, tmp_path):
    lab.classifier("real", 0, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1])
    lab.classifier("real", 1, recall=[0.9, 0.5, 0.2], counts=[3, 2, 1], finished=False)
    events = []
    build_report([lab.root], out=tmp_path / "report", load_train=None, listener=events.append)
    assert events[0].text == "real/seed-1 is not finished and is left out."


@pytest.mark.parametrize("n", [2, 10, 25, 100])
def test_class_figures_never_crowd_their_axis(n):
    labels = [f"a class with a long name, {i}" for i in range(n)]
    for svg in (
        figures.counts(labels, [500.0] * n, [3.0] * n, axis_name="class", name="x", alt="<counts>"),
        figures.class_fid(labels, {"real": ("baseline", [0.5] * (n - 1) + [None])}, axis_name="class", name="x", alt="recall"),
        figures.before_after(
            labels, ["few"] * n, {"real": [0.5] * n, "b": [None] * n}, "recall", axis_name="class", name="x", alt="recall"
        ),
        figures.confusion(labels, (np.eye(n) * 0.3 - 0.1).tolist(), name="x", alt="confusion"),
    ):
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert "height" not in root.attrib
        ticks = [g for g in root.iter() if g.get("id", "").startswith("x-xtick_")]
        assert 0 < len(ticks) <= 25


def test_small_images_are_enlarged_by_whole_pixels_and_large_ones_reduced():
    import base64
    import io

    from PIL import Image

    opened = lambda uri: Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))  # noqa: E731
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    small = np.asarray(opened(strip([pixels, pixels])))
    assert small.shape == (48, 48 + 3 + 48, 3)
    assert (small[::6, :48:6, 0] == pixels[0]).all()
    assert opened(strip([np.zeros((3, 200, 100), np.uint8)])).size == (48, 96)
    assert strip([]) == ""


def test_a_dataset_that_is_gone_costs_the_pictures_and_nothing_else(small_experiment, tmp_path):
    def gone(options, seed):
        raise DataError("folder:birds is gone")

    report = build_report([small_experiment()], out=tmp_path / "report", load_train=gone)
    assert report.gallery is None
    assert "folder:birds is gone" in (report.path / "report.md").read_text()
