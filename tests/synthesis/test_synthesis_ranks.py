"""A synthesis shared among processes: the same images and manifest whatever their number, and whoever ends and comes back."""

import multiprocessing
import signal

import pytest
from filelock import FileLock
from making import CPU, HalfJudge, Rank, files, synthesize, together
from waiting import LONG, wait_for

from ltaug import meeting
from ltaug.errors import CorruptError, MismatchError, RunExistsError
from ltaug.generator import generate as generated
from ltaug.manifest import read_manifest, read_synthetic
from ltaug.options import SynthesisOptions
from ltaug.place import Place
from ltaug.runs import Run, read_run
from ltaug.synthesis import stage, stores
from ltaug.synthesis.course import Course, Stretch
from ltaug.synthesis.rounds import FOLDER, Rounds
from ltaug.synthesis.stage import run_synthesis

WANTED = {"budget": {"cat": 17, "..": 14}, "judges": [HalfJudge()], "select_agreement": True, "sample_batch": 4}


@pytest.fixture(scope="module")
def whole(generator, real, tmp_path_factory):
    """What one process makes."""
    path = tmp_path_factory.mktemp("whole") / "s"
    synthesize(path, generator, real, **WANTED)
    return files(path)


@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_processes_makes_the_same_images_and_manifest(world, whole, generator, real, tmp_path):
    said = together(tmp_path / "s", generator, real, world, **WANTED)
    assert files(tmp_path / "s") == whole
    record = read_run(tmp_path / "s", finished=True)
    assert record["facts"]["rounds"] == [{"first": 0, "world": world, "size": 4 * world}]
    assert all(texts.count("synthesizing") > 1 for texts in said), "with one round nothing is agreed on"
    assert len({texts.count("synthesizing") for texts in said}) == 1
    lines = (tmp_path / "s" / "metrics.jsonl").read_text().splitlines()
    assert sum('"synthesizing"' in line for line in lines) == said[-1].count("synthesizing"), "rank 0 alone writes them"
    assert not (tmp_path / "s" / FOLDER).exists()
    assert len(read_synthetic(tmp_path / "s")) == 31


class Halting:
    """Processes of their own, each of which stands still when it begins this part of its own, and can then be killed."""

    def __init__(self, path, generator, real, ranks, world, *, at, **wanted):
        context = multiprocessing.get_context("fork")  # the generator comes along
        self._halted = context.Semaphore(0)
        self._processes = [
            context.Process(target=self._work, args=(path, generator, real, Place(rank, world), at, wanted)) for rank in ranks
        ]
        for process in self._processes:
            process.start()

    def _work(self, path, generator, real, place, at, wanted):
        generate, calls = generated.generate, []

        def halts(*args, **kwargs):
            calls.append(1)
            if len(calls) == at:
                self._halted.release()
                signal.pause()
            return generate(*args, **kwargs)

        generated.generate = halts
        synthesize(path, generator, real, place=place, **wanted)

    def kill(self):
        """Once all have come that far."""
        for _ in self._processes:
            assert self._halted.acquire(timeout=LONG)
        for process in self._processes:
            process.kill()
            process.join(LONG)
            assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_comes_back_alone_while_the_other_waits(rank, whole, generator, real, tmp_path, monkeypatch):
    monkeypatch.setattr(meeting, "PATIENCE", 0.05)
    path = tmp_path / "s"
    victim = Halting(path, generator, real, [rank], 2, at=3, **WANTED)
    other = Rank(path, generator, real, 1 - rank, 2, **WANTED)
    victim.kill()
    wait_for(lambda: f"Waiting for rank {rank} of 2 in round 3." in other.said)
    assert other.is_alive()
    Rank(path, generator, real, rank, 2, **WANTED).end()
    other.end()
    assert files(path) == whole


@pytest.mark.parametrize("images_to", ["folders", "shards"])
def test_another_number_of_processes_goes_on_after_the_complete_rounds(images_to, whole, generator, real, tmp_path):
    path, wanted = tmp_path / "s", WANTED | {"images_to": images_to}
    for world in (2, 3, 1):
        Halting(path, generator, real, range(world), world, at=3, **wanted).kill()
    half = path / ("shards/.000000-0-of-2.tar.half" if images_to == "shards" else "images/cat/.000000.png.half")
    half.write_bytes(b"half a li")  # what a kill may leave
    together(path, generator, real, 2, **wanted)
    stretches = read_run(path)["facts"]["rounds"]
    assert [s["world"] for s in stretches] == [2, 3, 1, 2]
    assert stretches[1]["first"] > 0
    assert not half.exists()
    rows = read_manifest(path)
    if images_to == "folders":
        assert files(path) == whole
    else:
        assert {f"shards/{p.name}" for p in (path / "shards").iterdir()} == {r.file.rsplit("/", 2)[0] for r in rows if r.file}
        assert [row.sha256 for row in rows] == [line.split(",")[-1] for line in whole["manifest.csv"].decode().split()[1:]]
        assert len(read_synthetic(path)) == 31


def unmark(path, *numbers):
    """As though these rounds' images had not been written yet."""
    for number in numbers:
        for marker in (path / FOLDER / f"{number:06d}").glob("*.done"):
            marker.unlink()


def test_rows_of_rounds_that_do_not_count_are_not_taken_for_later_ones(whole, generator, real, tmp_path):
    path = tmp_path / "s"
    Halting(path, generator, real, [0, 1], 2, at=4, **WANTED).kill()
    unmark(path, 1, 2)
    Halting(path, generator, real, [0], 1, at=3, **WANTED).kill()
    unmark(path, 2)
    together(path, generator, real, 2, **WANTED)
    assert [(s["first"], s["world"]) for s in read_run(path)["facts"]["rounds"]] == [(0, 2), (1, 1), (2, 2)]
    assert files(path) == whole


def test_a_kill_while_another_number_takes_over_leaves_no_mark_without_its_shard(generator, real, tmp_path, monkeypatch):
    path, wanted = tmp_path / "s", WANTED | {"images_to": "shards"}
    Halting(path, generator, real, [0, 1], 2, at=4, **wanted).kill()
    (path / FOLDER / "000001" / "1-of-2x8.done").unlink()
    drop = stores.Shards.drop

    def killed(self, part):
        drop(self, part)
        if part.number == 1 and part.rank == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stores.Shards, "drop", killed)
        with pytest.raises(KeyboardInterrupt):
            synthesize(path, generator, real, **wanted)
    together(path, generator, real, 2, **wanted)
    assert len(read_synthetic(path)) == 31


def test_a_process_of_the_old_number_that_is_still_at_work_is_named(generator, real, tmp_path):
    path = tmp_path / "s"
    Halting(path, generator, real, [0, 1], 2, at=3, **WANTED).kill()
    with (
        FileLock(path / ".lock-1-of-2"),
        pytest.raises(RunExistsError, match=r"rank 1 of 2 is still working on .*; stop it first"),
    ):
        synthesize(path, generator, real, **WANTED)
    synthesize(path, generator, real, **WANTED)


def test_a_rank_is_one_process_with_the_same_options_and_finds_what_is_done_done(generator, real, tmp_path):
    path = tmp_path / "s"
    second = Rank(path, generator, real, 1, 2, **WANTED)
    wait_for(second.is_alive)
    assert not path.exists(), "the process that leads opens the run"
    first = Rank(path, generator, real, 0, 2, **WANTED)
    wait_for((path / ".lock-1-of-2").exists)
    with pytest.raises(RunExistsError, match=r"already works on .* as rank 1 of 2"):
        Rank(path, generator, real, 1, 2, **WANTED).end()
    first.end()
    second.end()
    Rank(path, generator, real, 1, 2, **WANTED).end()
    with pytest.raises(MismatchError, match=r"options.budget"):
        Rank(path, generator, real, 1, 2, **WANTED | {"budget": {"cat": 5}}).end()


@pytest.mark.parametrize("removed", ["before it looks", "while it reads"])
def test_a_process_that_comes_when_the_others_finish_ends_and_leaves_nothing(removed, generator, real, tmp_path, monkeypatch):
    path = tmp_path / "s"
    together(path, generator, real, 2, **WANTED)
    before = files(path)
    record = read_run(path)
    monkeypatch.setattr(stage, "join", lambda run: Course((Stretch(0, 2, 8),)))  # it had looked a moment before
    if removed == "while it reads":
        monkeypatch.setattr(Rounds, "wait_for_rows", lambda *args: True)
    run = Run(path, record | {"status": "running"}, lambda event: None, Place(1, 2))
    options = SynthesisOptions(sample_steps=2, guidance=0.0, sample_batch=4, max_candidates=40, select_agreement=True)
    run_synthesis(generator, real, [HalfJudge()], options, budget=WANTED["budget"], run=run, runtime=CPU, seed=0)
    assert files(path) == before
    assert not (path / FOLDER).exists()


def test_rows_that_are_published_are_not_judged_again_but_must_be_of_the_same_images(generator, real, tmp_path, monkeypatch):
    path = tmp_path / "s"
    Halting(path, generator, real, [0, 1], 2, at=3, **WANTED).kill()
    unmark(path, 0, 1)
    generate = generated.generate
    monkeypatch.setattr(generated, "generate", lambda *args, **kwargs: generate(*args, **kwargs) ^ 1)
    with pytest.raises(MismatchError, match=r"image \d+ of class cat is no longer the one that rank 0 of 2 made before"):
        Rank(path, generator, real, 0, 2, **WANTED).end()


def test_rows_of_other_candidates_are_refused(generator, real, tmp_path):
    path = tmp_path / "s"
    Halting(path, generator, real, [0, 1], 2, at=3, **WANTED).kill()
    rows = path / FOLDER / "000001" / "1-of-2x8.csv"
    rows.write_bytes(b"\n".join(rows.read_bytes().split(b"\n")[1:]))
    with pytest.raises(CorruptError, match=r"rounds/000001 does not have the rows of its candidates"):
        Rank(path, generator, real, 0, 2, **WANTED).end()
