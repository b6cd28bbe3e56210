"""Disk and memory that do not suffice: a sentence with the place and the remedy, its exit code, and nothing saved is lost."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ltaug import fit_generator, synthesize, train_classifier
from ltaug.cli import main
from ltaug.errors import ResourceError
from ltaug.generator import trainee
from ltaug.machine import Machine

DATASET = {"dataset": "digits", "imbalance": 20, "head": 30}
GENERATOR = {"channels": 8, "batch_size": 8, "steps": 6, "checkpoint_every": 2}
HERE = Machine(device="cpu", threads=1)


def torn(cause):
    """torch's error about a file that it could not end, after the system's."""
    error = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598")
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x"),
            "runs/x: no space left on device; free space there, or name",
        ),
        (OSError(errno.EIO, "Input/output error"), "{out}: input/output error; look after the disk, or name"),
        (OSError(errno.ESTALE, "Stale file handle"), "{out}: stale file handle; mount its file system again"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "{out}: disk quota exceeded; free space there"),
        (OSError(errno.EROFS, "Read-only file system"), "{out}: read-only file system; make it writable"),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: too many open files; raise the limit of open files (ulimit -n)"),
        (SafetensorError("Error while serializing: I/O error: x (os error 28)"), "{out}: no space left on device; free space"),
        (torn(OSError(errno.ENOSPC, "No space left on device")), "{out}: no space left on device; free space"),
        (MemoryError(), "the memory is not enough; give a smaller --micro-batch"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the memory is not enough"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the GPU's memory is not enough"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "the memory is not enough"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "the GPU's memory is not"),
    ],
    ids=str,
)
def test_every_command_says_in_one_sentence_what_is_exhausted_and_what_to_do(called, tmp_path, error, said):
    def fail():
        raise error

    for command in called.commands:
        code, out, err = called(command, fail)
        assert code == ResourceError.exit_code == 10
        place = "a file" if command in called.without_out else tmp_path / "out"
        assert err.startswith(f"Error: {said.format(out=place)}"), command
        assert err.count("\n") == 1
        assert out == {"error": err[7:-1], "exit_code": 10}


@pytest.mark.parametrize("allocate", [lambda: np.zeros(10**15), lambda: torch.zeros(10**14)])
def test_real_allocations_that_fail_are_known(called, allocate):
    code, _, err = called("report", allocate)
    assert (code, err.startswith("Error: the memory is not enough")) == (10, True)


def test_an_error_of_the_program_keeps_its_traceback(called):
    def fail():
        raise torn(None)

    with pytest.raises(RuntimeError, match="unexpected pos"):
        called("inspect", fail)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_an_output_that_takes_nothing_is_said():
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "ltaug", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert found.returncode == 10
    assert found.stderr.startswith("Error: the output: no space left on device; ")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("part", ["save_file", "write_state"])
def test_a_disk_that_is_full_at_a_checkpoint_keeps_the_one_before_and_the_fit_goes_on_from_it(
    tmp_path, monkeypatch, capsys, part
):
    flags = [text for name, value in GENERATOR.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    flags += ["--imbalance", "20", "--head", "30", "--threads", "1", "--device", "cpu", "--out", str(tmp_path / "gen"), "--json"]
    limit, write, calls = resource.getrlimit(resource.RLIMIT_FSIZE), getattr(trainee, part), []

    def without_room(*given):
        calls.append(given)
        if len(calls) * (2 if part == "write_state" else 1) > 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
        write(*given)

    monkeypatch.setattr(trainee, part, without_room)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["fit-generator", *flags])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    out, err = capsys.readouterr()
    assert (ended.value.code, json.loads(out)["exit_code"]) == (10, 10)
    assert f"{tmp_path / 'gen'}: file too large; " in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "gen" / "checkpoints").iterdir()] == ["step-2"]
    monkeypatch.setattr(trainee, part, write)
    said = []
    fit_generator(DATASET, GENERATOR, out=tmp_path / "gen", machine=HERE, listener=lambda event: said.append(event.text))
    assert "Continuing from step 2 of 6." in said
    fit_generator(DATASET, GENERATOR, out=tmp_path / "whole", machine=HERE)
    one, other = (load_file(tmp_path / name / "checkpoints/step-6/ema.safetensors") for name in ("gen", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_does_not_fit_on_the_disk_is_refused_before_it_is_begun_and_what_is_there_is_left_alone(tmp_path, monkeypatch):
    out = fit_generator(DATASET, GENERATOR, out=tmp_path / "gen", machine=HERE)
    usage = namedtuple("usage", ("total", "used", "free"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 1000, 1000))
    fit_generator(DATASET, GENERATOR, out=out, machine=HERE)
    for make in (
        lambda new: fit_generator(DATASET, GENERATOR, out=new, machine=HERE),
        lambda new: train_classifier(DATASET, {"steps": 2}, out=new, seed=0, machine=HERE),
        lambda new: synthesize(out, {"per_class_budget": "40", "sample_steps": 2}, out=new, machine=HERE),
    ):
        with pytest.raises(ResourceError, match=r"new: .* are needed and 1 kB are free; free space there, or name an --out"):
            make(tmp_path / "new")
        assert not (tmp_path / "new" / "run.json").exists(), "another command may use the directory"
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 0))  # a file system that does not tell
    fit_generator(DATASET, GENERATOR, out=tmp_path / "new", machine=HERE)
