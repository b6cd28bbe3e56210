"""A small generator's synthesis, made whole, in shares or by other hands."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from ltaug.options import SynthesisOptions
from ltaug.runs import open_run
from ltaug.runtime import Runtime
from ltaug.synthesis.candidates import Share, Tally
from ltaug.synthesis.guidance import choose_guidance
from ltaug.synthesis.stage import Alone, make_parts, open_workshop, run_synthesis

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


class Later:
    """Hands that have three parts of four candidates under way, and make the one last asked for first."""

    slots, size = 3, 4

    def __init__(self, workshop, run):
        self.asked, self._workshop, self._run = [], workshop, run

    def submit(self, keys):
        made = Future()
        self.asked.append((keys, made))
        if len(self.asked) == self.slots or not keys:
            self.answer()
        else:
            threading.Timer(0.2, self.answer).start()  # no more may come
        return made

    def answer(self):
        while self.asked:
            keys, made = self.asked.pop()
            made.set_result(self._workshop.make(self._run, keys))


def synthesize(
    path, generator, real, *, budget, judges=(), listener=lambda event: None, share=None, hands=None, options=None, **own
):
    """Run the stage with `options`, or with quick ones and what differs from them; or one share of it, with other hands."""
    quick = {"sample_steps": 2, "guidance": 0.0, "sample_batch": 8, "max_candidates": 40}
    options = options or SynthesisOptions(**{**quick, **own})
    own = {name: getattr(options, name) for name in ("images_to", "max_candidates")}
    said = {"budget": budget, "synthesize": own}
    spec = {"stage": "synthesize", "label": "syn", "seed": 0, "options": said, "inputs": {}}
    with open_run(path, **spec, versions={}, device={}, listener=listener) as run:
        if run.finished:
            return run.record
        wanted = [budget.get(name, 0) for name in NAMES]
        asked = {"wanted": wanted, "images": sum(wanted), "runtime": CPU, "seed": 0, "tell": run.event}
        workshop = open_workshop(generator, real, list(judges), options, **asked)
        if options.choose_guidance:
            guided = choose_guidance(workshop.generated, workshop.selection.real, options.choose_guidance, run=run)
            workshop = replace(workshop, generated=guided)
        if share is None:
            hire = None if hands is None else lambda listener: nullcontext(hands(workshop, run.path))
            run_synthesis(workshop, options, budget=budget, run=run, hire=hire)
            return run.record
    own = Tally([share.of(count) for count in wanted], options.max_candidates)
    make_parts(own, Alone(workshop, path), run=path, class_names=NAMES, tell=lambda *args, **values: None, share=share)
    return run.record


def files(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*.*") if p.suffix in (".png", ".csv")}


def together(path, generator, real, world, **wanted):
    """Make all shares, the last one first, and finish the synthesis; what each call was told."""
    said = [[] for _ in range(world + 1)]
    for rank in reversed(range(world)):
        synthesize(path, generator, real, share=Share(rank, world), listener=lambda e, to=said[rank]: to.append(e.text), **wanted)
    synthesize(path, generator, real, listener=lambda e: said[world].append(e.text), **wanted)
    return said
