"""Parts of a synthesis: the same images and manifest whoever makes them, in any order, twice, and whatever is interrupted."""

import multiprocessing
import shutil
import signal
from itertools import count

import numpy as np
import pytest
from making import HalfJudge, Later, files, synthesize, together
from waiting import LONG

from ltaug.errors import CorruptError
from ltaug.generator import generate as generated
from ltaug.manifest import read_synthetic
from ltaug.runs import read_run
from ltaug.synthesis import parts, stores
from ltaug.synthesis.candidates import Share
from ltaug.synthesis.parts import FOLDER, verify_parts

WANTED = {"budget": {"cat": 17, "..": 14}, "judges": [HalfJudge()], "select_agreement": True, "sample_batch": 4}


@pytest.fixture(scope="module")
def whole(generator, real, tmp_path_factory):
    """What one process makes, undisturbed."""
    path = tmp_path_factory.mktemp("whole") / "s"
    synthesize(path, generator, real, **WANTED)
    return files(path)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_shares_make_the_same_images_and_manifest_as_one_process(world, whole, generator, real, tmp_path):
    said = together(tmp_path / "s", generator, real, world, **WANTED)
    assert files(tmp_path / "s") == whole
    assert said[-1].count("synthesizing") <= 5, "shares leave little to be made"
    assert not (tmp_path / "s" / FOLDER).exists()
    assert len(read_synthetic(tmp_path / "s")) == 31


def test_a_share_alone_leaves_the_run_unfinished_and_is_not_made_again(generator, real, tmp_path, monkeypatch):
    synthesize(tmp_path / "s", generator, real, share=Share(1, 2), **WANTED)
    assert read_run(tmp_path / "s")["status"] == "running"
    monkeypatch.setattr(generated, "generate", lambda *args, **kwargs: pytest.fail("made again"))
    synthesize(tmp_path / "s", generator, real, share=Share(1, 2), **WANTED)


def test_several_hands_that_answer_out_of_order_change_nothing(whole, generator, real, tmp_path):
    hands = []
    made = lambda *asked: hands.append(Later(*asked)) or hands[-1]  # noqa: E731
    synthesize(tmp_path / "s", generator, real, hands=made, **WANTED)
    assert len(hands) == 1
    assert files(tmp_path / "s") == whole


def test_parts_made_twice_by_others_of_other_sizes_change_nothing(whole, generator, real, tmp_path):
    for share in (Share(2, 3), Share(0, 2), Share(1, 3), Share(1, 2)):
        own = tmp_path / f"{share.rank}-of-{share.world}"
        synthesize(own, generator, real, share=share, **WANTED)
        shutil.copytree(own, tmp_path / "s", dirs_exist_ok=True)
    rows = [(row.class_, row.index) for part in parts.read_parts(tmp_path / "s") for row in part.rows]
    assert len(rows) > len(set(rows))
    synthesize(tmp_path / "s", generator, real, **WANTED)
    assert files(tmp_path / "s") == whole


def test_a_killed_process_leaves_whole_parts_and_the_same_command_goes_on(whole, generator, real, tmp_path):
    context = multiprocessing.get_context("fork")  # the generator comes along
    halted, generate = context.Semaphore(0), generated.generate

    def work():
        calls = count(1)

        def halts(*args, **kwargs):
            if next(calls) == 4:
                halted.release()
                signal.pause()
            return generate(*args, **kwargs)

        generated.generate = halts
        synthesize(tmp_path / "s", generator, real, **WANTED)

    process = context.Process(target=work)
    process.start()
    assert halted.acquire(timeout=LONG)
    process.kill()
    process.join(LONG)
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "s" / FOLDER).iterdir())) == 3
    synthesize(tmp_path / "s", generator, real, **WANTED)
    assert files(tmp_path / "s") == whole


@pytest.mark.parametrize("images_to", ["folders", "shards"])
def test_an_interruption_while_images_are_put_in_their_places_costs_nothing(images_to, generator, real, tmp_path, monkeypatch):
    wanted = {**WANTED, "images_to": images_to}
    synthesize(tmp_path / "whole", generator, real, **wanted)
    name = "_write_file" if images_to == "folders" else "_write_shard"
    write, calls = getattr(stores, name), count()

    def interrupted(*args):
        if next(calls) == (3 if images_to == "folders" else 0):
            raise KeyboardInterrupt
        return write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(stores, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesize(tmp_path / "s", generator, real, **wanted)
        patch.setattr(generated, "generate", lambda *args, **kwargs: pytest.fail("made again"))
        patch.setattr(stores, name, write)
        half = tmp_path / "s" / ("images/cat/.000000.png.half" if images_to == "folders" else "shards/.000000.tar.half")
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half a li")  # what a kill may leave
        synthesize(tmp_path / "s", generator, real, **wanted)
    assert files(tmp_path / "s") == files(tmp_path / "whole")
    assert not half.exists()


def test_a_finished_synthesis_is_left_as_it_is(whole, generator, real, tmp_path):
    synthesize(tmp_path / "s", generator, real, **WANTED)
    before = (tmp_path / "s" / "run.json").read_bytes()
    synthesize(tmp_path / "s", generator, real, **WANTED)
    synthesize(tmp_path / "s", generator, real, share=Share(0, 2), **WANTED)
    assert (tmp_path / "s" / "run.json").read_bytes() == before
    assert files(tmp_path / "s") == whole


def test_the_time_of_all_shares_is_counted(generator, real, tmp_path):
    for rank in range(2):
        synthesize(tmp_path / "s", generator, real, share=Share(rank, 2), **WANTED)
    took = sum(part.seconds for part in parts.read_parts(tmp_path / "s"))
    record = synthesize(tmp_path / "s", generator, real, **WANTED)
    assert record["timings"]["synthesize"] >= round(took, 3) > 0


def unfinished(path, generator, real):
    synthesize(path, generator, real, share=Share(0, 2), **WANTED)
    return sorted((path / FOLDER).iterdir())


def test_a_part_in_which_a_byte_changed_is_named_or_holds_the_same(whole, generator, real, tmp_path):
    there = unfinished(tmp_path / "s", generator, real)
    verify_parts(tmp_path / "s")
    size, named, same = there[1].stat().st_size, 0, 0
    for at in np.linspace(0, size - 1, 60).astype(int):
        copy = shutil.copytree(tmp_path / "s", tmp_path / "copy")
        content = bytearray((copy / FOLDER / there[1].name).read_bytes())
        content[at] ^= 0x10
        (copy / FOLDER / there[1].name).write_bytes(content)
        try:
            verify_parts(copy)
        except CorruptError as error:
            named += str(error).startswith(f"{copy / FOLDER / there[1].name} is damaged")
        else:  # a byte that says nothing of what is in the part, such as the time of a file
            synthesize(copy, generator, real, **WANTED)
            assert files(copy) == whole
            same += 1
        shutil.rmtree(copy)
    assert named + same == 60
    assert named > 30


@pytest.mark.parametrize("harm", ["torn", "empty", "rows"])
def test_a_damaged_part_is_refused_by_name_and_made_again_once_it_is_gone(harm, whole, generator, real, tmp_path):
    victim = unfinished(tmp_path / "s", generator, real)[0]
    if harm == "rows":
        content = victim.read_bytes()
        assert b",kept," in content
        victim.write_bytes(content.replace(b",kept,", b",far,,", 1))
    else:
        victim.write_bytes(victim.read_bytes()[:100] if harm == "torn" else b"")
    for call in (verify_parts, lambda path: synthesize(path, generator, real, **WANTED)):
        with pytest.raises(CorruptError, match=rf"{victim.name} is damaged .*; delete {victim} and run its command again"):
            call(tmp_path / "s")
    victim.unlink()
    synthesize(tmp_path / "s", generator, real, **WANTED)
    assert files(tmp_path / "s") == whole
