"""Rounds written in the background: what a kill leaves, what an error does, what is overlapped."""

import shutil
import threading

import numpy as np
import pytest

from ltaug.synthesis import writing
from ltaug.synthesis.manifest import Row, csv_to_rows, pixel_digest, read_image
from ltaug.synthesis.writing import JOURNAL, RoundWriter

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 1, 4, 4)).astype(np.uint8)


def round_of(numbers):
    """Rows and images; every third candidate was rejected."""
    how = {"seed": 0, "guidance": 0.0, "guidance_interval": "0,1", "sampler": "ddim", "steps": 2, "checkpoint": "c"}
    seen = {"class_": "a", "feature_distance": "", "nearest_real": 0, "nearest_distance": "1.0", "sha256": ""}
    rows = [
        Row(file=f"images/a/{i:06d}.png" if i % 3 else "", index=i, verdict="kept" if i % 3 else "far", **how, **seen)
        for i in numbers
    ]
    return rows, [IMAGES[i] for i in numbers]


def put_rounds(run, rounds, *, put=None, then=None):
    """Rounds of four candidates."""
    with RoundWriter(run) as writer:
        for number in range(rounds):
            writer.put(*round_of(range(4 * number, 4 * number + 4)))
            if put is not None:
                put.append(number)
        if then is not None:
            then()
    return writer.rows


def journalled(run):
    """Rows of the complete rounds, and whether all they name is in place."""
    text = (run / JOURNAL).read_bytes() if (run / JOURNAL).exists() else b""
    rows = csv_to_rows(text[: text.rfind(b"\n\n") + 1].replace(b"\n\n", b"\n"), header=False) if b"\n\n" in text else []
    for row in rows:
        assert row.sha256 == pixel_digest(IMAGES[row.index])
        if row.file:
            read_image(run / row.file, row.sha256)
    return rows


def test_rounds_are_in_the_journal_in_order_with_their_digests_and_images(tmp_path):
    rows = put_rounds(tmp_path, 3)
    assert [row.index for row in rows] == list(range(12))
    assert journalled(tmp_path) == rows
    assert len(list(tmp_path.rglob("*.png"))) == 8


def test_whenever_it_is_killed_what_the_journal_names_is_in_place(tmp_path, monkeypatch):
    """A copy of the directory, taken around every file and every row, is what a kill at that moment leaves."""
    run, moments = tmp_path / "run", []
    run.mkdir()
    write, to_csv = writing.write_image, writing.rows_to_csv

    def snapshot():
        moments.append(tmp_path / f"moment-{len(moments)}")
        shutil.copytree(run, moments[-1])

    def watched_write(*args):
        snapshot()
        write(*args)
        snapshot()

    def watched_rows(*args, **kwargs):
        snapshot()
        return to_csv(*args, **kwargs)

    monkeypatch.setattr(writing, "write_image", watched_write)
    monkeypatch.setattr(writing, "rows_to_csv", watched_rows)
    monkeypatch.setattr(writing, "FILES_AT_ONCE", 1)
    put_rounds(run, 3)
    counts = [len(journalled(moment)) for moment in moments]
    assert len(moments) == 2 * 8 + 3
    assert counts == sorted(counts)
    assert set(counts) == {0, 4, 8}


@pytest.mark.parametrize("rounds", [2, 3])
def test_a_round_that_cannot_be_written_is_an_error_and_neither_it_nor_a_later_one_is_journalled(tmp_path, monkeypatch, rounds):
    write, put = writing.write_image, []

    def full(run, file, image):
        if file.endswith("5.png"):
            raise OSError(28, "No space left on device")
        write(run, file, image)

    monkeypatch.setattr(writing, "write_image", full)
    with pytest.raises(OSError, match="No space left"):
        put_rounds(tmp_path, rounds, put=put)
    assert put == [0, 1]
    assert [row.index for row in journalled(tmp_path)] == [0, 1, 2, 3]


def test_an_interruption_lets_the_round_underway_be_completed(tmp_path, monkeypatch):
    write, interrupted = writing.write_image, threading.Event()

    def slow(run, file, image):
        assert interrupted.wait(5)
        write(run, file, image)

    def interrupt():
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_image", slow)
    with pytest.raises(KeyboardInterrupt):
        put_rounds(tmp_path, 1, then=interrupt)
    assert len(journalled(tmp_path)) == 4


def test_a_round_is_written_while_the_next_is_made_but_only_one_waits(tmp_path, monkeypatch):
    write, release = writing.write_image, threading.Event()

    def held(run, file, image):
        assert release.wait(5)
        write(run, file, image)

    monkeypatch.setattr(writing, "write_image", held)
    second = threading.Event()

    def fill(writer):
        writer.put(*round_of(range(4)))  # returns at once
        second.set()
        writer.put(*round_of(range(4, 8)))

    with RoundWriter(tmp_path) as writer:
        thread = threading.Thread(target=fill, args=(writer,))
        thread.start()
        assert second.wait(5)
        thread.join(0.1)
        assert thread.is_alive()  # waits for the first round
        release.set()
        thread.join(5)
    assert [row.index for row in writer.rows] == list(range(8))
