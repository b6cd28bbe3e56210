"""Output is kept out of the folders that images are read from, whatever command writes it and however the path is written."""

from pathlib import Path

import pytest
from PIL import Image

import ltaug
from ltaug import stages
from ltaug.cli import main
from ltaug.data.outside import require_outside
from ltaug.errors import OptionError


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """A dataset of two classes; commands run beside it."""
    monkeypatch.setenv("LTAUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        path = tmp_path / f"birds/{'ab'[i % 2]}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * i).save(path)
    return tmp_path / "birds"


@pytest.mark.parametrize(
    "out", ["birds", "birds/runs", "birds/a/deep/gen", "elsewhere/../birds/gen", "link/gen", "birds/out", "class/gen"]
)
def test_a_directory_inside_is_refused_through_links_and_dots(birds, tmp_path, out):
    (tmp_path / "elsewhere/class").mkdir(parents=True)
    (tmp_path / "link").symlink_to(birds)
    (birds / "out").symlink_to(tmp_path / "elsewhere")  # what is put beside it would lie in the dataset
    (birds / "c").symlink_to(tmp_path / "elsewhere/class")
    (tmp_path / "class").symlink_to(tmp_path / "elsewhere/class")
    with pytest.raises(OptionError, match=f"--out {out} lies in birds, whose images it would change"):
        require_outside(Path(out), "folder:birds")


@pytest.mark.parametrize("out", ["runs", "birds-runs", "birds/../runs", "birds.judges", "elsewhere/gen"])
def test_a_directory_beside_it_is_not(birds, tmp_path, out):
    (birds / "train").mkdir()
    (birds / "train/self").symlink_to(birds / "train/self")
    require_outside(Path(out), "folder:birds")
    require_outside(birds / "x", "digits")
    require_outside(birds / "x", "birds.npz")


@pytest.mark.parametrize(
    "command",
    [
        "fit-generator --dataset folder:birds --out birds/runs",
        "train-classifier --dataset folder:birds --out birds/a/clf",
        "train-classifier --dataset digits --synthetic birds --out birds/clf",
        "run mine.toml --out birds/runs",
        "run mine.toml --until-decided --out birds/runs",
    ],
)
def test_every_command_refuses_it_before_anything_is_written(birds, tmp_path, capsys, command):
    (tmp_path / "mine.toml").write_text('dataset = "folder:birds"\n[arms.real]\n')
    before = sorted(birds.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == OptionError.exit_code
    assert "lies in birds, whose images it would change; name a directory outside that folder" in capsys.readouterr().err
    assert sorted(birds.rglob("*")) == before


def test_what_is_made_from_a_generator_is_refused_as_well(birds, tmp_path):
    generator = stages.fit_generator({"dataset": "folder:birds"}, {"steps": 2, "channels": 8}, out=tmp_path / "gen")
    clf = stages.train_classifier({"dataset": "folder:birds"}, {"steps": 2}, out=tmp_path / "clf")
    before = sorted(birds.rglob("*"))
    for make in (
        lambda out: stages.synthesize(generator, {}, out=out),
        lambda out: stages.evaluate_generator(generator, {}, out=out),
        lambda out: stages.draw_figure("samples", [generator], {}, out=out),
        lambda out: stages.write_report([clf], out=out),
        lambda out: ltaug.grow(generator, out=out, per_round=2),
    ):
        for out in (birds / "made", birds / "b/made"):
            with pytest.raises(OptionError, match="whose images it would change"):
                make(out)
    assert sorted(birds.rglob("*")) == before
