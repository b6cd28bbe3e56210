"""A small generator's synthesis, made by one process or by several side by side."""

from __future__ import annotations

import threading

import numpy as np
import torch
from waiting import LONG

from ltaug.meeting import join_run
from ltaug.options import SynthesisOptions
from ltaug.place import ALONE, Place
from ltaug.runs import open_run
from ltaug.runtime import Runtime
from ltaug.synthesis.stage import run_synthesis

CPU = Runtime(torch.device("cpu"), None)
NAMES = ("cat", "sea/lion", "..")


class HalfJudge:
    """Agrees with whoever asks for an image whose first pixel is even."""

    class_names = NAMES

    def features(self, images):
        return images.reshape(len(images), -1).astype(np.float32)

    def probabilities(self, images):
        even = images.reshape(len(images), -1)[:, 0] % 2 == 0
        return np.stack([even, np.zeros(len(images)), ~even], 1).astype(np.float32)


def synthesize(path, generator, real, *, budget, judges=(), listener=lambda event: None, place=ALONE, options=None, **own):
    """Run the stage with `options`, or with quick ones and what differs from them."""
    quick = {"sample_steps": 2, "guidance": 0.0, "sample_batch": 8, "max_candidates": 40}
    options = options or SynthesisOptions(**{**quick, **own})
    own = {name: getattr(options, name) for name in ("images_to", "max_candidates")}
    said = {"budget": budget, "synthesize": own}
    spec = {"stage": "synthesize", "label": "syn", "seed": 0, "options": said, "inputs": {}}
    spec |= {"listener": listener, "place": place}
    opened = open_run(path, **spec, versions={}, device={}) if place.leads else join_run(path, **spec)
    with opened as run:
        if not run.finished:
            run_synthesis(generator, real, list(judges), options, budget=budget, run=run, runtime=CPU, seed=0)
        return run.record


def files(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*.*") if p.suffix in (".png", ".csv")}


class Rank(threading.Thread):
    """A process of several, as a thread, that starts at once."""

    def __init__(self, path, generator, real, rank, world, **wanted):
        self.error = None
        self.said = []
        place, listener = Place(rank, world), lambda event: self.said.append(event.text)

        def work():
            try:
                synthesize(path, generator, real, place=place, listener=listener, **wanted)
            except BaseException as error:  # noqa: BLE001 - raised again by `end`
                self.error = error

        super().__init__(target=work, daemon=True)
        self.start()

    def end(self):
        """Wait for it; raises what it raised."""
        self.join(LONG)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def together(path, generator, real, world, **wanted):
    """All processes of a synthesis, those that join started first; what each was told."""
    ranks = [Rank(path, generator, real, rank, world, **wanted) for rank in reversed(range(world))]
    for rank in ranks:
        rank.end()
    return [rank.said for rank in ranks]
