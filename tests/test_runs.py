"""Run directories: nothing half-written, nothing foreign touched, every difference named."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from killing import killed_at_every_write
from rewriting import rewrite
from waiting import LONG

from ltaug import runs
from ltaug.errors import CorruptError, MismatchError, OptionError, RunExistsError
from ltaug.files import SEAL, atomic_directory, atomic_write, read_json, verify_changed, verify_directory, write_json
from ltaug.formats import RUN
from ltaug.runs import LOCK_FILE, RUN_FILE, Event, differences, open_run, read_run, verify_outputs
from ltaug.stages.damage import find_damage


def opened(path: Path, **changed):
    spec = {"stage": "synthesize", "label": "a/synthetic", "seed": 0, "options": {"steps": 20}}
    spec["inputs"] = {"generator": {"digest": "a" * 64}}
    return open_run(path, versions={"ltaug": "1"}, device={"type": "cpu"}, **{**spec, **changed})


def contents(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    with atomic_write(target) as file:
        file.write(b"first")
        assert not target.exists()
    with pytest.raises(ZeroDivisionError), atomic_write(target) as file:
        file.write(b"second" * (1 // 0))
    assert contents(tmp_path) == {"file": b"first"}


def test_a_directory_appears_with_a_manifest_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "step-1") as folder:
        (folder / "weights").write_bytes(b"w" * (1 // 0))
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(tmp_path / "step-1") as folder:
        (folder / "weights").write_bytes(b"w")
    verify_directory(tmp_path / "step-1", ("weights",))


def test_a_flipped_byte_and_a_missing_file_are_found(tmp_path):
    with atomic_directory(tmp_path / "step-1") as folder:
        (folder / "weights").write_bytes(b"weights")
    (tmp_path / "step-1" / "weights").write_bytes(b"weighta")
    with pytest.raises(CorruptError, match=r"weights is damaged.*delete .*step-1"):
        verify_directory(tmp_path / "step-1", ("weights",))
    (tmp_path / "step-1" / "weights").unlink()
    with pytest.raises(CorruptError, match="weights is missing"):
        verify_directory(tmp_path / "step-1", ("weights",))


def test_json_with_nan_is_refused_and_the_old_file_stays(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[1, 2"])
def test_damaged_json_is_said_with_the_remedy(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RUN_FILE).write_bytes(content)
    with pytest.raises(CorruptError, match=r"run\.json is damaged .*delete .*run"):
        read_run(tmp_path / "run")


def test_a_run_is_continued_then_finished_then_reused(tmp_path):
    path = tmp_path / "run"
    with opened(path) as run:
        run.timing("fit", 1.5)
        run.save()
    with opened(path) as run:
        assert not run.finished
        run.timing("fit", 2.0)
        (path / "weights").write_bytes(b"w")
        run.finish(["weights"])
    with opened(path) as run:
        assert run.finished
        assert run.record["timings"] == {"fit": 3.5}
        run.event("Already done.")
    assert not (path / "metrics.jsonl").exists(), "what is finished is not written again"
    verify_outputs(path, read_run(path, stage="synthesize", finished=True)["outputs"])
    (path / "weights").write_bytes(b"v")
    with pytest.raises(CorruptError, match="damaged"):
        verify_outputs(path, read_run(path)["outputs"])


def test_a_run_counts_the_processor_time_of_its_own_work_over_interruptions(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    with opened(tmp_path / "first") as run:
        clock[0] += 2.5
        run.save()
        clock[0] += 1.5
        run.save()
        clock[0] += 40.0  # killed before it could save
    clock[0] += 7.0  # the same worker at something else
    with opened(tmp_path / "other") as run:
        clock[0] += 0.25
        run.finish([])
    with opened(tmp_path / "first") as run:
        clock[0] += 3.0
        run.finish([])
    with opened(tmp_path / "first"):
        clock[0] += 9.0
    spent = {name: read_run(tmp_path / name, finished=True)["spent"] for name in ("first", "other")}
    assert spent == {"first": {"processor": 7.0}, "other": {"processor": 0.25}}


def test_a_run_counts_the_processor_time_of_all_its_threads_and_no_sleep(tmp_path):
    def work() -> None:
        while time.thread_time() < 0.2:
            pass

    with opened(tmp_path / "run") as run:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(1.0)
        run.finish([])
    assert 0.4 <= read_run(tmp_path / "run")["spent"]["processor"] < 1.0


def test_a_run_that_an_earlier_version_began_claims_no_processor_time(tmp_path):
    with opened(tmp_path / "run") as run:
        del run.record["spent"]
        run.save()
    with opened(tmp_path / "run") as run:
        run.finish([])
    assert "spent" not in read_run(tmp_path / "run", finished=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"options": {"steps": 30}}, "options.steps: 20 before, 30 now"),
        ({"options": {"steps": 20, "guidance": 1.0}}, "options.guidance: null before, 1.0 now"),
        ({"seed": 1}, "seed: 0 before, 1 now"),
        ({"stage": "fit-generator"}, 'stage: "synthesize" before, "fit-generator" now'),
        ({"inputs": {"generator": {"digest": "b" * 64}}}, "inputs.generator.digest: aaaaaaaaaaaa… before, bbbbbbbbbbbb… now"),
    ],
)
def test_another_spec_is_refused_and_the_difference_named(tmp_path, changed, said):
    with opened(tmp_path / "run"):
        pass
    before = contents(tmp_path / "run")
    with pytest.raises(MismatchError) as caught, opened(tmp_path / "run", **changed):
        pass
    assert said in str(caught.value)
    assert contents(tmp_path / "run") == before


def test_a_run_whose_input_moved_is_the_same_run(tmp_path):
    with opened(tmp_path / "run", inputs={"generator": {"path": "../a", "digest": "a"}}):
        pass
    with opened(tmp_path / "run", inputs={"generator": {"path": "../b", "digest": "a"}}) as run:
        assert run.record["inputs"]["generator"]["path"] == "../a"


def test_a_foreign_directory_or_file_is_refused_and_untouched(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunExistsError, match="not an ltaug run"), opened(tmp_path / "notes"):
        pass
    assert contents(tmp_path / "notes") == {"thesis.txt": b"years of work"}
    with pytest.raises(RunExistsError, match="is a file"), opened(tmp_path / "notes" / "thesis.txt"):
        pass


def test_every_state_that_a_kill_can_leave_opens_again(tmp_path, monkeypatch):
    moments = killed_at_every_write(monkeypatch, tmp_path / "run", tmp_path / "moments")
    with opened(tmp_path / "run") as run:
        run.note(made=3)
        run.save()
        with atomic_write(run.path / "made") as file:
            file.write(b"made")
        run.finish(["made"])
    monkeypatch.undo()
    assert len(moments) >= 4 * 3
    for moment in moments:
        with opened(moment) as run:
            if not run.finished:
                run.finish([])
        assert {path.name for path in moment.iterdir()} <= {RUN_FILE, LOCK_FILE, "made"}


def test_an_empty_directory_is_taken(tmp_path):
    with opened(tmp_path) as run:
        assert run.path == tmp_path


def test_a_run_that_another_process_writes_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "run" / LOCK_FILE), ready, release))
    holder.start()
    try:
        assert ready.wait(LONG)
        with pytest.raises(RunExistsError, match="being written by another process"), opened(tmp_path / "run"):
            pass
    finally:
        release.set()
        holder.join()
    with opened(tmp_path / "run", wait=5.0) as run:
        assert not run.finished


def test_a_long_wait_for_another_process_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PATIENCE", 0.05)
    (tmp_path / "run").mkdir()
    other, heard = FileLock(tmp_path / "run" / LOCK_FILE), []
    other.acquire()

    def hear(event):
        heard.append(event.text)
        other.release()

    with opened(tmp_path / "run", wait=LONG, listener=hear) as run:
        assert not run.finished
    assert heard == [f"Waiting for another process, which is at work in {tmp_path / 'run'}."]


def _hold(lock: str, ready, release) -> None:
    with FileLock(lock):
        ready.set()
        release.wait(LONG)


def test_reading_asks_for_the_stage_and_the_status_that_are_needed(tmp_path):
    with opened(tmp_path / "run"):
        pass
    with pytest.raises(MismatchError, match="is a synthesize run; a fit-generator run is needed"):
        read_run(tmp_path / "run", stage="fit-generator")
    with pytest.raises(MismatchError, match="not finished"):
        read_run(tmp_path / "run", finished=True)
    with pytest.raises(CorruptError, match="missing"):
        read_run(tmp_path / "nothing")


def test_events_reach_the_listener_and_figures_the_log(tmp_path):
    heard: list[Event] = []
    with opened(tmp_path / "run", listener=heard.append) as run:
        run.event("fitting", 1, 10)
        run.event("fitting", 2, 10, loss=0.5)
        run.event("Two images were left out.")
    assert {e.run for e in heard} == {"a/synthetic"}
    assert [(e.text, e.step) for e in heard] == [("fitting", 1), ("fitting", 2), ("Two images were left out.", 0)]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["text"], line.get("loss")) for line in lines] == [("fitting", 0.5), ("Two images were left out.", None)]


def test_differences_go_through_nested_values():
    before, now = {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}
    assert differences(before, now) == ["a.c: 2 before, 3 now", "d: null before, 4 now"]
    assert differences({"a": [1]}, {"a": [1]}) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_is_an_os_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), opened(tmp_path / "run"):
        pass


def test_a_mistake_before_anything_was_made_does_not_keep_the_directory(tmp_path):
    with pytest.raises(OptionError), opened(tmp_path / "run", options={"steps": 30}):
        raise OptionError("no such sampler")
    with opened(tmp_path / "run"):
        (tmp_path / "run" / "made").touch()
    with pytest.raises(OptionError), opened(tmp_path / "run"):
        raise OptionError("too late")
    assert read_run(tmp_path / "run")["options"] == {"steps": 20}, "what was made is kept"


def test_any_changed_byte_of_a_record_is_damage_or_changes_nothing(tmp_path):
    with opened(tmp_path / "run") as run:
        run.finish([])
    file = tmp_path / "run" / RUN_FILE
    whole, before = file.read_bytes(), read_run(tmp_path / "run")
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        try:
            found = read_run(tmp_path / "run")
        except CorruptError:
            continue
        assert {key: found[key] for key in before if key in found and key != SEAL} == {k: before[k] for k in before if k != SEAL}


def test_a_lost_artefact_says_to_delete_the_whole_run_wherever_it_lay(tmp_path):
    with opened(tmp_path / "run") as run:
        (tmp_path / "run" / "deep").mkdir()
        (tmp_path / "run" / "deep" / "weights").touch()
        run.finish(["deep/weights"])
    (tmp_path / "run" / "deep" / "weights").unlink()
    with pytest.raises(CorruptError, match=r"missing; delete \S*/run and run"):
        verify_outputs(tmp_path / "run", read_run(tmp_path / "run")["outputs"])


def test_a_record_says_its_format_and_one_of_a_newer_ltaug_is_refused_and_kept(tmp_path):
    with opened(tmp_path / "run"):
        pass
    assert read_run(tmp_path / "run")["format"] == RUN
    rewrite(tmp_path / "run", format=RUN + 1)
    before = contents(tmp_path / "run")
    with pytest.raises(MismatchError, match=rf"newer ltaug \(format {RUN + 1}, this one reads up to {RUN}\); update ltaug"):
        read_run(tmp_path / "run")
    with pytest.raises(MismatchError, match="newer ltaug"), opened(tmp_path / "run"):
        pass
    assert contents(tmp_path / "run") == before
    (one,) = find_damage([tmp_path]).damages
    assert (one.costs, one.remedy) == ("nothing", "update ltaug")


def test_a_record_of_format_0_is_continued_in_the_present_one(tmp_path):
    with opened(tmp_path / "run"):
        pass
    rewrite(tmp_path / "run", format=None)
    assert "format" not in read_run(tmp_path / "run")
    with opened(tmp_path / "run") as run:
        run.finish([])
    assert read_run(tmp_path / "run", finished=True)["format"] == RUN


def test_links_that_lead_back_or_nowhere_do_not_keep_a_folder_from_being_verified(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").write_bytes(b"0")
    (tmp_path / "images/self").symlink_to("self")
    (tmp_path / "images/up").symlink_to("..")
    verified = []
    for _ in range(2):
        verify_changed(tmp_path, ["images"], lambda: verified.append("once"))
    (tmp_path / "images/0.png").write_bytes(b"01")
    verify_changed(tmp_path, ["images"], lambda: verified.append("changed"))
    assert verified == ["once", "changed"]
