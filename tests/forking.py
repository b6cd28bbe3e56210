"""Processes forked from one that has loaded everything (forked.py), so that a command takes no start."""

import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch


def forking():
    """The context that makes them."""
    here = str(Path(__file__).parent)
    multiprocessing.set_forkserver_preload(["forked"])
    # The server leaves out, without a word, what it cannot import, and Python 3.11 does not give it this process's sys.path.
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}):
        forkserver.ensure_running()
    return multiprocessing.get_context("forkserver")
