"""Waiting for what another process does."""

import subprocess
import time


def wait_for(condition, process: subprocess.Popen, seconds: float = 120.0) -> None:
    """Return as soon as condition() holds; fail where the process ends before, or does not come to it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
