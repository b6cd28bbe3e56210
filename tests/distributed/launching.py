"""Two processes of one command: forks that get the variables that every launcher sets, or real ones of torchrun."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from forking import Python
from waiting import LONG

ONE_THREAD = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def start(where: Path, *command: str, **variables: str) -> Python:
    return Python(where, *command, **ONE_THREAD, **variables)


def by_hand(where: Path, *command: str, world: int = 2) -> list[Python]:
    """The processes, rank 0 first."""
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    return [start(where, *command, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(world)]


def torchrun(where: Path, *command: str, restarts: int = 0) -> subprocess.Popen:
    agent = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    whole = [sys.executable, "-m", *agent, *command]
    return subprocess.Popen(whole, cwd=where, env=os.environ | ONE_THREAD, start_new_session=True, **pipes)


def ended(process: Python | subprocess.Popen, *, code: int) -> tuple[str, str]:
    """Its stdout and stderr, once it has ended with this exit code."""
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == code, err
    return out, err
