"""Checkpoints: complete or not there, damage of every kind is said and passed over, nothing in them is executed."""

import json
import pickle
import shutil

import pytest
import torch

from ltaug.checkpoints import checkpoint_steps, new_checkpoint, newest_checkpoint, read_state
from ltaug.errors import CorruptError, MismatchError
from ltaug.files import MANIFEST, read_json, sealed, verify_directory, write_json
from ltaug.formats import DIRECTORY

STATE = "state.pt"


class Executed:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def save(folder, step, **more):
    with new_checkpoint(folder, step) as path:
        torch.save({"model": torch.full((3,), step)} | more, path / STATE)
        (path / "other").write_bytes(b"abc")


def read(path):
    verify_directory(path, (STATE,))
    return read_state(path / STATE, ("model",), device="cpu")


def replaced(content):
    """A checkpoint whose state is another file, with the digest of that."""

    def damage(path):
        shutil.rmtree(path)
        with new_checkpoint(path.parent, 30) as new:
            content(new / STATE)

    return damage


def flipped(name, at):
    def damage(path):
        data = bytearray((path / name).read_bytes())
        data[at] ^= 1
        (path / name).write_bytes(data)

    return damage


DAMAGES = {
    "state flipped": flipped(STATE, 100),
    "state cut": lambda path: (path / STATE).write_bytes((path / STATE).read_bytes()[:100]),
    "state gone": lambda path: (path / STATE).unlink(),
    "another file flipped": flipped("other", 0),
    "manifest flipped": flipped(MANIFEST, 20),
    "manifest gone": lambda path: (path / MANIFEST).unlink(),
    "manifest empty": lambda path: (path / MANIFEST).write_text("{}"),
    "manifest a list": lambda path: (path / MANIFEST).write_text(json.dumps([STATE])),
    "state a pickle": replaced(lambda file: file.write_bytes(pickle.dumps(Executed(), protocol=2))),
    "state a tensor": replaced(lambda file: torch.save(torch.ones(2), file)),
    "model missing": replaced(lambda file: torch.save({"optimizer": 1}, file)),
    "state empty": replaced(lambda file: file.write_bytes(b"")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_of_damaged_checkpoints_the_newest_whole_one_is_used_and_it_is_said(tmp_path, damage):
    for step in (10, 20, 30):
        save(tmp_path, step)
    assert checkpoint_steps(tmp_path) == [20, 30]
    damage(tmp_path / "step-30")
    said = []
    step, state = newest_checkpoint(tmp_path, read, said.append)
    assert (step, state["model"].tolist()) == (20, [20, 20, 20])
    assert "after step 30 is not used" in said[0]
    assert checkpoint_steps(tmp_path) == [20]


def test_what_a_kill_or_a_person_leaves_beside_checkpoints_is_no_checkpoint(tmp_path):
    (tmp_path / "step-abc").mkdir()
    (tmp_path / ".step-40.x1y2.half").mkdir()
    assert newest_checkpoint(tmp_path, read, pytest.fail) == (0, None)
    save(tmp_path, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-abc"]
    assert newest_checkpoint(tmp_path, read, pytest.fail)[0] == 10


def test_a_checkpoint_that_is_not_completed_leaves_nothing(tmp_path):
    save(tmp_path, 10)
    with pytest.raises(RuntimeError, match="full"), new_checkpoint(tmp_path, 20):
        raise RuntimeError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["step-10"]


def test_a_file_that_cannot_be_read_is_no_reason_to_remove_it(tmp_path):
    save(tmp_path, 10)

    def unreadable(path):
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        newest_checkpoint(tmp_path, unreadable, pytest.fail)
    assert checkpoint_steps(tmp_path) == [10]


def test_a_checkpoint_that_lacks_what_is_needed_is_damaged(tmp_path):
    save(tmp_path, 10)
    with pytest.raises(CorruptError, match="does not name weights"):
        verify_directory(tmp_path / "step-10", ("weights",))


def test_a_checkpoint_of_a_newer_ltaug_is_refused_and_no_older_one_taken_in_its_place(tmp_path):
    for step in (10, 20):
        save(tmp_path, step)
    manifest = tmp_path / "step-20" / MANIFEST
    write_json(manifest, sealed(read_json(manifest) | {"format": DIRECTORY + 1}))
    with pytest.raises(MismatchError, match=r"step-20 was written by a newer ltaug .*; update ltaug"):
        newest_checkpoint(tmp_path, read, pytest.fail)
    assert checkpoint_steps(tmp_path) == [10, 20]


def test_a_manifest_of_format_0_is_read(tmp_path):
    save(tmp_path, 10)
    manifest = tmp_path / "step-10" / MANIFEST
    write_json(manifest, read_json(manifest)["files"])
    assert newest_checkpoint(tmp_path, read, pytest.fail)[0] == 10
