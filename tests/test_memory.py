"""What the system says of memory."""

import mmap
import sys

import pytest

from ltaug import memory
from ltaug.memory import available_memory, peak_memory, reset_peak

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_control_group_above_this_process_limits_what_is_available(tmp_path, monkeypatch):
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal:       64 kB\nMemAvailable:   32 kB\nHugePages_Total:       0\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    assert available_memory() == 32 * 1024
    (tmp_path / "self/cgroup").write_text("0::/slurm/job_7/step_0\n")
    inner = tmp_path / "cgroup/slurm/job_7/step_0"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    assert available_memory() == 32 * 1024
    (inner.parent / "memory.max").write_text("20480\n")
    assert available_memory() == 20480


def test_there_is_memory_available():
    assert 2**20 < available_memory() < 2**50


@linux
def test_the_peak_is_that_since_it_was_reset():
    reset_peak()
    before = peak_memory()
    with mmap.mmap(-1, 2**26) as block:  # pages that no allocator has kept
        block.write(bytes(2**20) * 64)
        during = peak_memory()
    assert 2**25 < during - before < 2**28
    reset_peak()
    assert peak_memory() < during - 2**25
