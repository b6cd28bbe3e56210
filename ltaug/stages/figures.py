"""Figures: the runs they are drawn from are opened here, and what is drawn is written beside its data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltaug.errors import OptionError, nearest
from ltaug.files import atomic_write
from ltaug.options import Machine
from ltaug.runs import Listener, Run, ignore_events, read_run
from ltaug.runtime import make_runtime
from ltaug.stages import prepared
from ltaug.stages.opening import Given, already_done, open_stage, plain


@dataclass(frozen=True)
class Kind:
    """A figure: the stage and the number of the runs it is drawn from, and what makes it ready."""

    stage: str
    least: int
    most: int | None
    prepare: Callable[[Sequence[Path], Given, prepared.Context], prepared.Prepared]


def draw_figure(
    kind: str,
    runs: Sequence[Path],
    given: Given,
    *,
    out: Path,
    seed: int | None = None,
    machine: Machine = Machine(),  # noqa: B008
    label: str | None = None,
    listener: Listener = ignore_events,
    wait: float = 0.0,
) -> Path:
    """Draw one figure into a run directory: the picture, figure.csv with its data, run.json; `ltaug figure`.

    Args:
        kind: "samples", "tau" and so on: a key of FIGURES.
        runs: what it is drawn from, as many as that figure takes.
        given: that figure's options (figures/options.py) by name.
        out: the run directory; a finished one of the same options and inputs is left as it is.
        seed: of the noise; None takes the first run's.

    Raises:
        LtaugError: see errors.py; nothing is overwritten.
    """
    if kind not in FIGURES:
        raise OptionError(f"there is no figure {kind!r}; {nearest(kind, FIGURES)}")
    figure = FIGURES[kind]
    if not figure.least <= len(runs) <= (figure.most or len(runs)):
        wanted = f"{figure.least}" if figure.least == figure.most else f"at least {figure.least}"
        raise OptionError(f"figure {kind} is drawn from {wanted} {figure.stage} runs, {len(runs)} given; name that many")
    runtime = make_runtime(machine.device, threads=machine.threads)
    seed = read_run(runs[0], stage=figure.stage, finished=True)["seed"] if seed is None else seed
    ready = figure.prepare(runs, given, prepared.Context(out, seed, machine, runtime, label or out.name, listener, wait))
    with open_stage(
        out,
        "figure",
        label=label,
        seed=seed,
        options={"figure": kind, kind: plain(ready.options)},
        inputs=ready.inputs,
        runtime=runtime,
        listener=listener,
        log=machine.log,
        wait=wait,
    ) as run:
        if not already_done(run):
            _fill(run, ready)
    return out


def _fill(run: Run, ready: prepared.Prepared) -> None:
    began = time.monotonic()
    drawn = ready.draw(lambda text, step, total: run.event(text, step, total))
    for note in drawn.notes:
        run.event(note)
    for name, content in drawn.files.items():
        with atomic_write(run.path / name) as file:
            file.write(content)
    run.note(**drawn.facts, notes=drawn.notes)
    run.timing("draw", time.monotonic() - began)
    run.finish(list(drawn.files))


FIGURES: dict[str, Kind] = {
    "samples": Kind("fit-generator", 1, 1, prepared.samples),
    "denoising": Kind("fit-generator", 2, 2, prepared.denoising),
    "features": Kind("fit-generator", 1, None, prepared.features),
    "grid": Kind("fit-generator", 1, None, prepared.grid),
    "guidance": Kind("fit-generator", 1, 1, prepared.guidance),
    "tau": Kind("evaluate-generator", 2, None, prepared.tau),
    "class-fid": Kind("evaluate-generator", 2, None, prepared.class_fid),
}
