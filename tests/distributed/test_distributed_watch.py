"""How processes end together, with threads in place of processes: mistakes, losses, and who speaks of them."""

from __future__ import annotations

import queue
import socket
import threading

import pytest
from forking import Python
from waiting import LONG, wait_for

from ltaug.distributed import watch
from ltaug.distributed.connections import RANK, TOKEN, Meeting, connect
from ltaug.distributed.watch import watched
from ltaug.errors import BudgetError, EndedElsewhere, WorkerError
from ltaug.place import Place

BROKEN = RuntimeError("a collective that somebody left")


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A busy machine may take long to run the thread that ends, which would otherwise end this process."""
    monkeypatch.setattr(watch, "GRACE", LONG)


def together(*ends):
    """What each of several processes raises; `ends` are called once all are there, with an event that is set when one is gone."""
    world, said, raised, there = len(ends), queue.Queue(), [None] * len(ends), threading.Barrier(len(ends))
    left = threading.Event()

    def process(rank, end):
        place = Place(rank, world, rank)

        def share(meeting):
            if meeting is not None:
                for _ in range(world - 1):
                    said.put(meeting)
                return meeting
            return said.get(timeout=LONG)

        connections = connect(place, share, master="localhost")
        try:
            with watched(place, connections):
                there.wait(LONG)
                end(connections, left)
        except BaseException as error:  # noqa: BLE001 (whatever it is, is looked at)
            raised[rank] = error
        left.set()

    threads = [threading.Thread(target=process, args=(rank, end)) for rank, end in enumerate(ends)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    return raised


def finish(connections, left):
    pass


def lose(connections, left):
    """As the system does when a process is killed."""
    for connection in connections.values():
        connection.shutdown(socket.SHUT_RDWR)
    raise SystemExit


def err(connections, left):
    raise BudgetError("too much")


def interrupt(connections, left):
    raise KeyboardInterrupt


def break_off(connections, left):
    """What a process sees of the end of another one in torch.distributed."""
    assert left.wait(LONG)
    raise BROKEN


def test_processes_that_finish_have_nothing_to_say():
    assert together(finish, finish, finish) == [None, None, None]


@pytest.mark.parametrize(("end", "code"), [(err, 4), (interrupt, 130)])
def test_the_others_end_in_silence_with_the_code_of_the_one_that_says_why(end, code):
    raised = together(break_off, break_off, end)
    assert [(type(error), error.exit_code) for error in raised[:2]] == [(EndedElsewhere, code)] * 2
    raised = together(end, break_off, break_off)
    assert [(type(error), error.exit_code) for error in raised[1:]] == [(EndedElsewhere, code)] * 2


def test_of_the_same_mistake_everywhere_rank_0_speaks():
    raised = together(err, err, err)
    assert [type(error) for error in raised] == [BudgetError, EndedElsewhere, EndedElsewhere]


@pytest.mark.parametrize(("lost", "speaker"), [(2, 0), (1, 0), (0, 1)])
def test_of_a_lost_process_the_first_of_the_others_speaks(lost, speaker):
    ends = [break_off] * 3
    ends[lost] = lose
    raised = together(*ends)
    assert isinstance(raised[speaker], WorkerError)
    assert f"rank {lost} of 3 was lost" in str(raised[speaker])
    silent = raised[3 - lost - speaker]
    assert (type(silent), silent.exit_code) == (EndedElsewhere, 8)


def test_a_mistake_in_the_program_stays_what_it_is(monkeypatch):
    monkeypatch.setattr(watch, "TELLING", 0.1)  # nobody tells anything
    raised = together(break_off, finish)
    assert raised[0] is BROKEN


def test_a_stranger_at_the_door_is_not_let_in():
    meetings, found = queue.Queue(), {}

    def share(meeting):
        meetings.put(meeting)
        return meeting

    door = threading.Thread(target=lambda: found.update(connect(Place(0, 2), share, master="localhost")))
    door.start()
    meeting = meetings.get(timeout=LONG)
    with socket.create_connection(("localhost", meeting.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1".ljust(TOKEN + RANK))
        assert stranger.recv(1) == b""
    ours = connect(
        Place(1, 2), lambda _: Meeting(("no.such.host.invalid", *meeting.hosts), meeting.port, meeting.token), master=""
    )
    door.join(LONG)
    assert set(found) == {1}
    for connection in (*found.values(), *ours.values()):
        connection.close()


STUCK = """
import sys, threading
from pathlib import Path
from ltaug.distributed import watch
from ltaug.distributed.connections import Meeting, connect
from ltaug.place import Place
watch.GRACE = 0.5
rank, where = int(sys.argv[1]), Path(sys.argv[2])
def share(meeting):
    if meeting is not None:
        (where / "part").write_text(f"{meeting.port} {meeting.token.hex()}")
        (where / "part").rename(where / "meeting")
        return meeting
    while not (where / "meeting").exists():
        pass
    port, token = (where / "meeting").read_text().split()
    return Meeting(("localhost",), int(port), bytes.fromhex(token))
with watch.watched(Place(rank, 2, rank), connect(Place(rank, 2, rank), share, master="localhost")):
    (where / f"waits-{rank}").touch()
    threading.Lock().acquire() and threading.Event().wait(600)
"""


def test_a_main_thread_that_waits_for_a_killed_process_is_ended(tmp_path):
    pair = [Python(tmp_path, "-c", STUCK, str(rank), str(tmp_path)) for rank in range(2)]
    for rank, process in enumerate(pair):
        wait_for((tmp_path / f"waits-{rank}").exists, process)
    pair[1].kill()
    _, said = pair[0].communicate(timeout=LONG)
    assert pair[0].returncode == 8
    assert said.startswith("Error: rank 1 of 2 was lost")
    pair[1].communicate()
