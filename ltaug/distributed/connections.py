"""How the processes of one start find each other: their part of the launcher's store, and connections with rank 0.

The connections are separate from those of torch.distributed, and watch.py listens to them.
"""

from __future__ import annotations

import secrets
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from ltaug.errors import WorkerError
from ltaug.place import Place

POLL = 0.02  # seconds between looks into the store
JOINING = 60.0  # seconds for all processes to connect
ANSWERING = 5.0  # seconds for one address to answer
TOKEN = 16  # bytes that prove that a connection belongs to this group
RANK = 4  # bytes of a rank
OUTSIDE = ("192.0.2.1", 9)  # an address reserved for documentation (RFC 5737); nothing is sent there


def store_of_start(store: Store, place: Place, *, patience: timedelta) -> Store:
    """A part of the launcher's store that nothing has been written to, for each start of a group.

    torchrun gives restarted processes the same store as before, with the addresses of processes that no longer exist, and its
    count of restarts differs between machines (https://github.com/pytorch/pytorch/issues/135712).

    Every other process publishes a new token; rank 0 answers each token it sees until all processes have its answer.

    Raises:
        RuntimeError: some processes do not join in time.
    """
    if not place.leads:
        token = uuid.uuid4().hex
        store.set(f"here/{place.rank}", token)
        name = store.get(f"answer/{token}").decode()
        store.set(f"{name}/come/{place.rank}", "")
        return PrefixStore(name, store)
    name, awaited = uuid.uuid4().hex, set(range(1, place.world))
    deadline = time.monotonic() + patience.total_seconds()
    while awaited:
        for rank in sorted(awaited):
            if store.check([f"{name}/come/{rank}"]):
                awaited.discard(rank)
            elif store.check([f"here/{rank}"]):
                store.set(f"answer/{store.get(f'here/{rank}').decode()}", name)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(awaited)} of {place.world} did not join")
        time.sleep(POLL)
    return PrefixStore(name, store)


@dataclass(frozen=True)
class Meeting:
    """The port where rank 0 listens, every name its machine may have, and the token it expects."""

    hosts: tuple[str, ...]
    port: int
    token: bytes


Share = Callable[[Meeting | None], Meeting | None]  # returns rank 0's value on all processes


def connect(place: Place, share: Share, *, master: str) -> dict[int, socket.socket]:
    """Connect rank 0 with every other process.

    Args:
        master: the name of rank 0's machine, as the launcher gives it.

    Returns:
        On rank 0 its connection with each other process, by rank; elsewhere only the one with rank 0.

    Raises:
        WorkerError: not all processes connected, or none of rank 0's addresses answers.
    """
    if not place.leads:
        meeting = share(None)
        assert meeting is not None
        return {0: _alive(_reach(meeting, place.rank))}
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=both, backlog=1024) as server:
        meeting = Meeting(_own_names(master), server.getsockname()[1], secrets.token_bytes(TOKEN))
        share(meeting)
        return {rank: _alive(connection) for rank, connection in _accept(server, meeting.token, place.world - 1).items()}


def _own_names(master: str) -> tuple[str, ...]:
    """Names and addresses by which other machines may reach this one, likeliest first."""
    names = [master, socket.gethostname(), socket.getfqdn()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(OUTSIDE)
            names.append(probe.getsockname()[0])
        except OSError:  # there is no route off this machine, so nothing reaches it from outside either
            pass
    return tuple(dict.fromkeys(names))


def _accept(server: socket.socket, token: bytes, others: int) -> dict[int, socket.socket]:
    found: dict[int, socket.socket] = {}
    deadline = time.monotonic() + JOINING
    while len(found) < others:
        server.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            connection, _ = server.accept()
        except TimeoutError as error:
            raise WorkerError(f"{others - len(found)} of {others} other processes did not connect to rank 0") from error
        connection.settimeout(ANSWERING)
        said = receive(connection, TOKEN + RANK)
        if secrets.compare_digest(said[:TOKEN], token):
            connection.sendall(token)
            found[int.from_bytes(said[TOKEN:])] = connection
        else:
            connection.close()  # not one of the group: a port scanner, for example
    return found


def _reach(meeting: Meeting, rank: int) -> socket.socket:
    for host in meeting.hosts:
        try:
            connection = socket.create_connection((host, meeting.port), timeout=ANSWERING)
            connection.sendall(meeting.token + rank.to_bytes(RANK))
        except OSError:  # one of several names, which may belong to another machine
            continue
        if receive(connection, TOKEN) == meeting.token:
            return connection
        connection.close()
    names = ", ".join(meeting.hosts)
    raise WorkerError(f"rank 0 does not answer on port {meeting.port} of {names}; open the ports between the machines")


def receive(connection: socket.socket, size: int) -> bytes:
    """`size` bytes; fewer if the other side has ended or does not answer in time."""
    said = b""
    try:
        while len(said) < size and (more := connection.recv(size - len(said))):
            said += more
    except OSError:  # a reset or a timeout counts as ended
        pass
    return said


def _alive(connection: socket.socket) -> socket.socket:
    """Turn on TCP keep-alive, so that a power cut of the other machine is noticed too."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
