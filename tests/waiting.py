"""Waiting for what another process or thread does, however busy the machine is."""

import subprocess
import time

LONG = 300.0  # seconds before a test gives up; a wait that succeeds ends as soon as it can


def wait_for(condition, process: subprocess.Popen | None = None) -> None:
    """Return as soon as condition() holds; fail if it takes LONG, or if the process that is to bring it about ends first."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)
