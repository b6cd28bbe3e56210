"""Parts of rounds written in the background: what a kill leaves, what an error does, what is overlapped."""

import shutil
import threading

import numpy as np
import pytest
from waiting import LONG

from ltaug.data.imageset import pixel_digest
from ltaug.data.shards import read_images
from ltaug.manifest import Row
from ltaug.synthesis import rounds, stores
from ltaug.synthesis.rounds import Part, Rounds
from ltaug.synthesis.stores import Folders, RoundWriter

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 1, 4, 4)).astype(np.uint8)


def part(number):
    return Part(number, 0, 1, 4)


def kept_of(number):
    """Rows and images that a round of four keeps: three of them."""
    how = {"seed": 0, "guidance": 0.0, "guidance_interval": "0,1", "sampler": "ddim", "steps": 2, "checkpoint": "c"}
    seen = {"class_": "a", "feature_distance": "", "nearest_real": 0, "nearest_distance": "1.0", "verdict": "kept"}
    indices = range(4 * number, 4 * number + 3)
    rows = [Row(file=f"images/a/{i:06d}.png", index=i, sha256=pixel_digest(IMAGES[i]), **how, **seen) for i in indices]
    return rows, [IMAGES[i] for i in indices]


def put_rounds(run, count, *, put=None, then=None):
    found = Rounds(run)
    for number in range(count):
        found.publish(part(number), kept_of(number)[0])
    with RoundWriter(Folders(run), found) as writer:
        for number in range(count):
            writer.put(part(number), *kept_of(number))
            if put is not None:
                put.append(number)
        if then is not None:
            then()


def marked(run):
    """The rounds that are marked; all that they keep is in place."""
    found = Rounds(run)
    numbers = [number for number in found.numbers() if not found.without(rounds.MARK, [part(number)])]
    for number in numbers:
        rows = found.rows(part(number))
        assert len(list(read_images(run, [row.file for row in rows], [row.sha256 for row in rows]))) == len(rows)
    return numbers


def test_rounds_are_marked_with_their_images_in_place(tmp_path):
    put_rounds(tmp_path, 3)
    assert marked(tmp_path) == [0, 1, 2]
    assert Rounds(tmp_path).rows(part(1)) == kept_of(1)[0]
    assert len(list(tmp_path.rglob("*.png"))) == 9


def test_whenever_it_is_killed_what_a_mark_speaks_of_is_in_place(tmp_path, monkeypatch):
    """A copy of the directory, taken around every image and every mark, is what a kill at that moment leaves."""
    run, moments = tmp_path / "run", []
    run.mkdir()
    write, mark = stores.write_image, rounds.write_json

    def snapshot():
        moments.append(tmp_path / f"moment-{len(moments)}")
        shutil.copytree(run, moments[-1])

    def watched(function):
        def watching(*args):
            snapshot()
            function(*args)
            snapshot()

        return watching

    monkeypatch.setattr(stores, "write_image", watched(write))
    monkeypatch.setattr(rounds, "write_json", watched(mark))
    monkeypatch.setattr("ltaug.synthesis.stores.FILES_AT_ONCE", 1)
    put_rounds(run, 3)
    counts = [len(marked(moment)) for moment in moments]
    assert len(moments) == 2 * (9 + 3)
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


@pytest.mark.parametrize("count", [2, 3])
def test_a_round_that_cannot_be_written_is_an_error_and_neither_it_nor_a_later_one_is_marked(tmp_path, monkeypatch, count):
    write, put = stores.write_image, []

    def full(path, image):
        if path.name.endswith("5.png"):
            raise OSError(28, "No space left on device")
        write(path, image)

    monkeypatch.setattr(stores, "write_image", full)
    with pytest.raises(OSError, match="No space left"):
        put_rounds(tmp_path, count, put=put)
    assert put == [0, 1]
    assert marked(tmp_path) == [0]


def test_an_interruption_lets_the_round_underway_be_completed(tmp_path, monkeypatch):
    write, interrupted = stores.write_image, threading.Event()

    def slow(path, image):
        assert interrupted.wait(LONG)
        write(path, image)

    def interrupt():
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "write_image", slow)
    with pytest.raises(KeyboardInterrupt):
        put_rounds(tmp_path, 1, then=interrupt)
    assert marked(tmp_path) == [0]


def test_a_round_is_written_while_the_next_is_made_but_only_one_waits(tmp_path, monkeypatch):
    write, release, second = stores.write_image, threading.Event(), threading.Event()

    def held(path, image):
        assert release.wait(LONG)
        write(path, image)

    class Put(list):
        def append(self, number):
            super().append(number)
            second.set()

    monkeypatch.setattr(stores, "write_image", held)
    put = Put()
    thread = threading.Thread(target=put_rounds, args=(tmp_path, 2), kwargs={"put": put})
    thread.start()
    assert second.wait(LONG)  # the first put returns at once
    thread.join(0.1)
    assert put == [0]  # the second waits for the first round
    release.set()
    thread.join(LONG)
    assert marked(tmp_path) == [0, 1]
