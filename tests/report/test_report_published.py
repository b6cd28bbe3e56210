"""Published numbers: what the file holds, when a report shows them, and where protocols differ."""

from importlib import resources

import pytest
from test_report_page import Page

from ltaug.cli import main
from ltaug.errors import OptionError
from ltaug.report import build_report
from ltaug.report.arms import score
from ltaug.report.beside import beside
from ltaug.report.collect import collect
from ltaug.report.evaluations import collect_evaluations
from ltaug.report.generators import generator_tables
from ltaug.report.protocols import recognised
from ltaug.report.published import parse, published

CIFAR = {"dataset": "cifar100", "imbalance": 100.0, "profile": "exp", "class_order": "index"}


def value(method, key, dataset="cifar100-lt", protocol="cbdm"):
    (row,) = [r for r in published().rows if (r.method, r.dataset, r.protocol) == (method, dataset, protocol)]
    return row.values[key]


def beside_published(root, name=None):
    """What a report on these runs would set beside them."""
    found = collect([root])
    tables = generator_tables(collect_evaluations([root])[0], found, order=list(found.results), featured=None)
    name = name or recognised(found)
    return beside(name, found, score(found), tables) if name else None


def test_the_file_is_package_data():
    assert (resources.files("ltaug.report") / "published.toml").is_file()


@pytest.mark.parametrize(
    ("method", "dataset", "protocol", "key", "expected"),
    [
        ("DDPM", "cifar100-lt", "cbdm", "fid", 7.38),
        ("DDPM", "cifar100-lt", "cbdm", "inception_score", 13.11),
        ("DDPM + ADA", "cifar100-lt", "cbdm", "f8", 0.91),
        ("DDPM + DiffAug", "cifar100-lt", "cbdm", "f1_8", 0.86),
        ("DDPM + RS", "cifar100-lt", "cbdm", "fid", 10.50),
        ("DDPM + RS-SQRT", "cifar100-lt", "cbdm", "fid", 9.72),
        ("CBDM, label set train", "cifar100-lt", "cbdm", "fid", 6.26),
        ("CBDM, label set bal", "cifar100-lt", "cbdm", "recall", 0.64),
        ("CBDM, label set sqrt", "cifar100-lt", "cbdm", "fid", 6.00),
        ("CBDM, 100 DDIM steps", "cifar100-lt", "cbdm", "recall", 0.61),
        ("CBDM + ADA", "cifar100-lt", "cbdm", "fid", 5.81),
        ("CBDM fine-tuned from DDPM, label set bal", "cifar100-lt", "cbdm", "fid", 5.85),
        ("EDM + CBDM", "cifar100-lt", "cbdm", "fid", 7.97),
        ("ViT", "cifar100-lt", "cbdm", "fid", 37.6),
        ("CBDM", "cifar10-lt", "cbdm", "fid", 5.46),
        ("CORAL", "cifar100-lt", "coral", "fid", 5.37),
        ("T2H", "cifar10-lt", "coral", "fid", 7.01),
        ("CBGAN", "cifar10-lt", "validation-10k", "fid", 32.93),
        ("SNGAN + gSR", "cifar10-lt", "validation-10k", "fid", 18.58),
        ("CBDM + ADA", "cifar100-lt", "validation-10k", "fid", 10.50),
        ("BigGAN + DA + R_LC", "cifar100", "balanced-quoted", "fid", 2.99),
        ("CBDM without the commitment term", "cifar100-lt", "ablation-10k", "fid", 8.84),
        ("with images of CBDM", "cifar100-lt", "recognition", "macro_recall", 0.47),
        ("the whole balanced set", "cifar100", "recognition", "macro_precision", 0.70),
    ],
)
def test_values_are_those_of_the_papers(method, dataset, protocol, key, expected):
    assert value(method, key, dataset, protocol) == expected


def test_every_row_has_a_source_and_none_is_there_twice():
    book = published()
    keys = [(row.method, row.dataset, row.protocol) for row in book.rows]
    assert len(keys) == len(set(keys)) == 40
    assert all(book.papers[row.paper].venue for row in book.rows)
    assert {row.method for row in book.rows if row.quoted} == {"CBGAN", "SNGAN + gSR", "BigGAN + DA + R_LC"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('paper = "coral"', 'paper = "choral"', "names an unknown paper"),
        ("fid = 7.38", "fid = nan", "no finite values"),
        ('kind = "recognition"', 'kind = "cognition"', "is of kind 'cognition'"),
        ("quoted = true", "quotd = true", "quotd"),
    ],
)
def test_a_faulty_file_is_refused(before, after, message):
    text = (resources.files("ltaug.report") / "published.toml").read_text(encoding="utf-8")
    assert before in text
    with pytest.raises(ValueError, match=message):
        parse(text.replace(before, after, 1))


def test_an_unknown_dataset_suggests_the_nearest_before_anything_is_written(small_experiment, tmp_path):
    with pytest.raises(OptionError, match="did you mean 'cifar100-lt'"):
        build_report([small_experiment()], out=tmp_path / "report", load_train=None, beside_published="cifar100lt")
    assert not (tmp_path / "report").exists()


def test_the_command_refuses_an_unknown_dataset_with_exit_code_2(small_experiment, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(small_experiment()), "--out", str(tmp_path / "report"), "--published", "cifar"])
    assert end.value.code == 2
    assert "--published 'cifar' is not a dataset with published numbers; did you mean" in capsys.readouterr().err


def test_other_datasets_have_nothing_beside_them_unless_asked(small_experiment):
    root = small_experiment()
    assert beside_published(root) is None
    asked = beside_published(root, "cifar10-lt")
    assert asked.name == "CIFAR-10-LT"
    assert asked.data == (
        "The images come from digits, so whether they are the field's draw of CIFAR-10-LT is not recorded.",
        "Training sets have 3 classes with 6 images, 3 to 1 a class; the papers' 10 classes with 12,406 images, 5,000 to 50 a "
        "class.",
    )


@pytest.fixture
def cifar(lab):
    """A CIFAR-100-LT experiment by its recorded options; only its counts are real."""
    counts = [int(500 * 0.01 ** (c / 99) + 1e-9) for c in range(100)]

    def write(seed=0, dataset=CIFAR, synthetic=None):
        options = {"model": "resnet32"}
        same = {"recall": [0.5] * 100, "counts": counts, "options": options, "dataset": dataset}
        lab.classifier("real", seed, **same)
        lab.classifier("syn", seed, synthetic_counts=synthetic or [500] * 100, **same)
        return lab

    return write


def test_runs_on_the_published_dataset_are_recognised_and_stand_beside_it(cifar, tmp_path):
    report = build_report([cifar().root], out=tmp_path / "report", load_train=None)
    assert report.beside.name == "CIFAR-100-LT"
    assert report.beside.data == ()
    (table,) = report.beside.tables  # no evaluation: recognition alone
    ours, theirs = table.groups
    assert [row.name for row in ours.rows] == ["real", "syn"]
    assert [row.values["macro_recall"].mean for row in theirs.rows] == [0.39, 0.44, 0.47, 0.67]
    assert theirs.differences == ("These runs differ in none of the points they record.",)
    text = (tmp_path / "report" / "report.html").read_text()
    Page(text)
    assert "Next to published results on CIFAR-100-LT" in text
    assert "| with images of CBDM | Qin et al., CVPR 2023, arXiv 2305.00562 |" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 3}, "The draws are those of seed 3; the papers use one draw, that of seed 0."),
        ({"dataset": {**CIFAR, "class_order": "shuffled"}}, "The draw was made with other options"),
    ],
)
def test_another_draw_is_said(cifar, change, said):
    assert beside_published(cifar(**change).root).data[0].startswith(said)


def test_other_budgets_of_synthetic_images_are_said(cifar):
    found = beside_published(cifar(synthetic=[0] * 50 + [10] * 50).root)
    assert found.tables[0].groups[1].differences == (
        "These runs differ in synthetic images added (500 here, 50,000 there) and how they are shared out (different numbers a "
        "class here, the same number a class there).",
    )


def test_a_draw_with_another_imbalance_is_not_the_published_one(cifar):
    assert beside_published(cifar(dataset={**CIFAR, "imbalance": 50.0}).root) is None


@pytest.fixture
def evaluated(cifar):
    """The same with a generator that was evaluated as given."""

    def write(**provenance):
        lab = cifar()
        training = {"steps": 300_000, "batch_size": 48, "channels": 128}
        generator = lab.generator("gen", 0, training)
        asked = {"extractor": "inception", "reference": "balanced", "samples": 50_000} | provenance
        measured = {"fid": 6.5, "recall": 0.6}
        lab.evaluation("gen", 0, measured, weights="w" * 64, generator=generator, counts=[5, 1], class_fid=[1.0, 2.0], **asked)
        return lab

    return write


SAME_SCALE = "Generated images, in Inception features"


def table(lab, title=SAME_SCALE):
    (found,) = [t for t in beside_published(lab.root).tables if t.title == title]
    return found


def test_a_protocol_that_is_followed_is_said_to_be(evaluated):
    ours, cbdm, coral, *_ = table(evaluated()).groups
    assert [row.values["fid"].mean for row in ours.rows] == [6.5]
    assert cbdm.differences == ("These runs in inception features against balanced differ in none of the points they record.",)
    assert coral.differences == (
        "These runs in inception features against balanced differ in training steps (300,000 here, 150,000 there) and batch size "
        "(48 here, 128 there).",
    )


def test_every_point_of_difference_is_computed_from_the_records(evaluated):
    first, *_ = table(evaluated(extractor="pixels", reference="test", samples=1000)).groups
    assert not first.ours
    assert first.differences == (
        "These runs in pixels features against test differ in the extractor (pixels here, inception there), the reference "
        "(test here, balanced there) and generated images (1,000 here, 50,000 there).",
    )


def test_own_values_in_other_features_stand_in_a_table_of_their_own(evaluated):
    lab = evaluated(extractor="pixels")
    title = "Generated images of these runs, in pixels features: not on the published scale"
    assert [group.ours for group in table(lab, title).groups] == [True]
    assert not any(group.ours for group in table(lab).groups)


def test_what_the_runs_do_not_record_is_said(cifar):
    lab = cifar()
    lab.evaluation("gen", 0, {"fid": 6.5}, weights="w" * 64, extractor="inception", samples=50_000)
    said = table(lab).groups[1].differences[0]
    assert said.endswith("Not recorded: training steps, batch size and channels of the network.")
