"""Two processes of one command, started by hand (the variables that every launcher sets) or by torchrun."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from waiting import LONG

ONE_THREAD = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def start(where: Path, *command: str, **variables: str) -> subprocess.Popen:
    environment = os.environ | ONE_THREAD | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=where, env=environment, start_new_session=True, **pipes)


def by_hand(where: Path, *command: str, world: int = 2) -> list[subprocess.Popen]:
    """The processes, rank 0 first."""
    shared = {"WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    return [start(where, *command, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(world)]


def torchrun(where: Path, *command: str, restarts: int = 0) -> subprocess.Popen:
    agent = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return start(where, "-m", *agent, *command)


def ended(process: subprocess.Popen, *, code: int) -> tuple[str, str]:
    """Its stdout and stderr, once it has ended with this exit code."""
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == code, err
    return out, err
