"""Settings that let the tests pass on a busy machine and in the background."""

import json
import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# One thread for each test process: small tensors gain nothing from more, and parallel tests would fight over cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's `&` leaves SIGINT ignored, which every process that the tests start and interrupt would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Both the deadline of an example and the check that examples are drawn quickly are wall-clock times.
settings.register_profile("ltaug", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ltaug")


@pytest.fixture
def called(capsys, tmp_path, monkeypatch):
    """A command with --json whose stage is the given function: the exit code, the object on stdout and stderr."""
    from ltaug import stages
    from ltaug.cli import commands, main, planning
    from ltaug.pipeline import grow

    for module, name in (
        *(
            (stages, name)
            for name in (
                "fit_generator",
                "synthesize",
                "evaluate_generator",
                "write_report",
                "draw_figure",
                "export",
                "inspect",
                "find_damage",
                "find_leftovers",
                "diagnose",
            )
        ),
        *((commands, name) for name in ("run_recipe", "run_planned")),
        (grow, "grow"),
        (planning, "plan"),
    ):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: doing[0]())
    doing = []
    run = str(tmp_path)
    (tmp_path / "run.json").write_text('{"stage": "fit-generator", "status": "running"}')
    needed = {
        "fit-generator": (),
        "synthesize": (run,),
        "evaluate-generator": (run,),
        "train-classifier": ("--dataset", "digits"),
        "report": (run,),
        "figure": ("grid", run, "--strengths", "0"),
        "grow": (run,),
        "run": ("digits-lt",),
        "plan": ("digits-lt",),
        "inspect": ("digits",),
        "export": (run, "--to", "imagefolder"),
        "check": (run,),
        "clean": (run,),
        "doctor": (),
    }

    def call(command, do):
        doing[:] = [do]
        out = () if command in call.without_out else ("--out", str(tmp_path / "out"))
        with pytest.raises(SystemExit) as ended:
            main([command, *needed[command], *out, "--json"])
        out, err = capsys.readouterr()
        return ended.value.code, json.loads(out), err

    call.commands = tuple(needed)
    call.without_out = ("inspect", "check", "clean", "doctor")
    return call


def pytest_collection_modifyitems(config, items):
    """Among several workers, slow tests come first, so that no worker is left alone with them at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
