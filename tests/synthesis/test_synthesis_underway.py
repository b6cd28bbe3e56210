"""The rounds of an unfinished synthesis are read back."""

import shutil

import pytest
from making import HalfJudge, synthesize

from ltaug.errors import CorruptError
from ltaug.generator import generate as generated
from ltaug.synthesis.underway import verify_underway


@pytest.fixture(params=["folders", "shards"])
def unfinished(request, generator, real, tmp_path, monkeypatch):
    """A synthesis that was interrupted in its third round, with candidates that were rejected or of which a class was full."""
    made, generate = [], generated.generate

    def dies_in_the_third_round(*args, **kwargs):
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return generate(*args, **kwargs)

    monkeypatch.setattr(generated, "generate", dies_in_the_third_round)
    wanted = {"budget": {"cat": 1, "..": 12}, "images_to": request.param, "sample_batch": 8}
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "cut", generator, real, judges=[HalfJudge()], select_agreement=True, **wanted)
    return tmp_path / "cut"


def test_a_whole_unfinished_synthesis_is_found_whole(unfinished):
    verify_underway(unfinished)
    assert {path.suffix for path in (unfinished / "rounds/000001").iterdir()} == {".csv", ".done"}


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:5] + bytes([content[5] ^ 0x10]) + content[6:])


@pytest.mark.parametrize("harm", [flip, lambda path: path.unlink()], ids=["flipped", "lost"])
def test_every_image_or_shard_of_a_complete_round_is_looked_for(unfinished, harm, tmp_path):
    images = [path for path in unfinished.rglob("*") if path.suffix in (".png", ".tar")]
    assert images
    for path in images:
        copy = shutil.copytree(unfinished, tmp_path / "copy")
        harm(copy / path.relative_to(unfinished))
        with pytest.raises(CorruptError):
            verify_underway(copy)
        shutil.rmtree(copy)


def test_rows_of_other_candidates_or_without_numbers_and_a_damaged_mark_are_damage(unfinished):
    (rows,), (mark,) = ((unfinished / "rounds/000000").glob(f"*.{kind}") for kind in ("csv", "done"))
    for path, before, after in (
        (rows, b",cat,0,", b",cat,1,"),
        (rows, b",cat,0,", b",cat,O,"),
        (rows, b",cat,0,", b",c\xff\xfe,0,"),
        (mark, b"\n", b""),
    ):
        content = path.read_bytes()
        assert before in content
        path.write_bytes(content.replace(before, after, 1))
        with pytest.raises(CorruptError):
            verify_underway(unfinished)
        path.write_bytes(content)
    verify_underway(unfinished)
