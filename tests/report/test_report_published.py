"""Published numbers: what they are, and when a report shows them."""

import pytest
from test_report_page import Page

from ltaug.cli import main
from ltaug.errors import OptionError
from ltaug.report import build_report
from ltaug.report.published import KEYS, PUBLISHED

CIFAR = {"dataset": "cifar100", "imbalance": 100.0, "profile": "exp", "class_order": "index"}


@pytest.mark.parametrize(
    ("dataset", "method", "paper", "key", "expected"),
    [
        ("cifar100-lt", "DDPM", "Qin", "fid", 7.38),
        ("cifar100-lt", "DDPM", "Qin", "inception_score", 13.11),
        ("cifar100-lt", "DDPM + ADA", "Qin", "f8", 0.91),
        ("cifar100-lt", "CBDM", "Qin", "recall", 0.59),
        ("cifar100-lt", "CBDM + ADA", "Qin", "f1_8", 0.90),
        ("cifar100-lt", "CORAL", "Rodriguez", "fid", 5.37),
        ("cifar100-lt", "classifier with images of CBDM", "Qin", "macro_recall", 0.47),
        ("cifar100-lt", "classifier of the full balanced set", "Qin", "macro_precision", 0.70),
        ("cifar10-lt", "CBDM", "Qin", "fid", 5.46),
        ("cifar10-lt", "T2H", "Rodriguez", "fid", 7.01),
    ],
)
def test_values_are_those_of_the_papers(dataset, method, paper, key, expected):
    published = PUBLISHED[dataset]
    (values,) = [values for name, source, values in published.table if name == method and source.startswith(paper)]
    assert dict(zip(published.columns, values, strict=True))[key] == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_row_has_a_source_and_values_for_known_measures_and_none_is_there_twice(name):
    rows = PUBLISHED[name].rows
    assert len({(method, source) for method, source, _ in rows}) == len(rows)
    assert all("arXiv" in source and any(values) and len(values) <= len(KEYS) for _, source, values in rows)


def test_an_unknown_dataset_suggests_the_nearest_before_anything_is_read(tmp_path):
    with pytest.raises(OptionError, match="did you mean 'cifar100-lt'"):
        build_report([tmp_path / "absent"], out=tmp_path / "report", load_train=None, published="cifar100lt")


def test_the_command_refuses_an_unknown_dataset_with_exit_code_2(small_experiment, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(small_experiment()), "--out", str(tmp_path / "report"), "--published", "cifar"])
    assert end.value.code == 2
    assert "--published 'cifar' is not a dataset with published numbers; did you mean" in capsys.readouterr().err


def test_other_datasets_are_reported_without_published_results_unless_asked(small_experiment, tmp_path):
    root = small_experiment()
    assert build_report([root], out=tmp_path / "report", load_train=None).published is None
    assert "Published results" not in (tmp_path / "report" / "report.html").read_text()
    asked = build_report([root], out=tmp_path / "report", load_train=None, published="cifar10-lt")
    assert asked.published == PUBLISHED["cifar10-lt"]
    assert "Published results on CIFAR-10-LT" in (tmp_path / "report" / "report.html").read_text()


def test_runs_on_the_published_dataset_are_recognised_and_the_papers_rows_stand_below(lab, tmp_path):
    lab.classifier("real", 0, recall=[0.5] * 3, counts=[500, 50, 5], dataset=CIFAR)
    report = build_report([lab.root], out=tmp_path / "report", load_train=None)
    assert report.published == PUBLISHED["cifar100-lt"]
    page, markdown = ((tmp_path / "report" / name).read_text() for name in ("report.html", "report.md"))
    Page(page)
    for text in (page, markdown):
        assert "Published results on CIFAR-100-LT" in text
        assert "protocols differ" in text
    row = "| classifier with images of CBDM | Qin et al., CVPR 2023, arXiv 2305.00562 | – | – | – | – | – | 0.49 | 0.47 |"
    assert row in markdown.splitlines()


@pytest.mark.parametrize("change", [{"imbalance": 50.0}, {"profile": "step"}, {"dataset": "digits"}])
def test_another_draw_is_not_the_published_one(lab, tmp_path, change):
    lab.classifier("real", 0, recall=[0.5] * 3, counts=[500, 50, 5], dataset=CIFAR | change)
    assert build_report([lab.root], out=tmp_path / "report", load_train=None).published is None
