"""A classifier's training step in every way there is, and several seeds' classifiers at once; minutes for the field's recipe.

    python benchmarks/classifier.py                                       # ResNet-32, 32x32, batch 128
    python benchmarks/classifier.py --image-size 8 --steps 30             # the digits classifier
    python benchmarks/classifier.py --compile                             # with torch.compile too (a C++ compiler, and minutes)
    python benchmarks/classifier.py --threads 1 --clock cpu --seeds 1     # on a machine that others use as well
    python benchmarks/classifier.py --device cuda --compile --steps 100 --rounds 7 --seeds 3

The first table is about one classifier: every way has a process of its own, and all take some steps in turns, round after
round, so that a machine that drifts drifts for all. The second is about the classifiers of several seeds, in the fastest way of
the first that does not compile: one after the other in one process; as one network whose every weight has a row a seed
(torch.func.vmap, grouped convolutions); and side by side in a process each with one thread, as `ltaug run` has them. With
--clock cpu times are what all processors spent together. Minutes are for 200 epochs of 50,000 images.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import multiprocessing
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from fit_step import CLOCKS, noise_images
from tables import add_json, show
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ltaug.classifier.augment import build_augmentation
from ltaug.classifier.batches import Batch, make_pool
from ltaug.classifier.fit import batches_of
from ltaug.classifier.models import build_model
from ltaug.classifier.phases import build_learner, phases_of
from ltaug.classifier.step import Learner, step_taker, warming_steps
from ltaug.data.imageset import ImageSet
from ltaug.fields import resolve
from ltaug.options import ClassifierOptions
from ltaug.runtime import Runtime

EPOCHS, IMAGES = 200, 50_000
ENDLESS = 10**9


def ways(device: str, *, compiled: bool) -> dict[str, Runtime]:
    """What is compared."""
    fp32, bf16 = Runtime(torch.device(device), None), Runtime(torch.device(device), torch.bfloat16)
    found = {"--precision fp32": fp32, "--precision bf16": bf16}
    if device == "cuda":
        found = {f"{name}, call by call": runtime for name, runtime in found.items()}
        found["bf16, captured"] = bf16 = dataclasses.replace(bf16, captured=True)
    if compiled:
        found["bf16, captured, compiled" if bf16.captured else "bf16, compiled"] = dataclasses.replace(bf16, compiled=True)
    return found


def learning(options: ClassifierOptions, train: ImageSet, runtime: Runtime, *, seed: int) -> tuple[Learner, Iterator[Batch]]:
    """An untrained network and its batches."""
    phase, pool = phases_of(train, None, options, seed=seed)[0], make_pool(train, None, device=runtime.device)
    torch.manual_seed(seed)
    network = build_model(options.model, num_classes=train.num_classes, image_shape=train.image_shape).to(runtime.device)
    learner = build_learner(network, phase, pool, runtime)
    return learner, batches_of(phase.plan, pool, build_augmentation(options), 0, ENDLESS)


def one_seed(options: ClassifierOptions, train: ImageSet, runtime: Runtime, *, seed: int = 0) -> Iterator[Tensor]:
    """The loss of each step, taken when it is asked for."""
    learner, batches = learning(options, train, runtime, seed=seed)
    take_step = step_taker(learner)
    for batch in batches:
        yield take_step(batch, options.lr)


def one_after_the_other(options: ClassifierOptions, train: ImageSet, runtime: Runtime, *, seeds: int) -> Iterator[Tensor]:
    """The mean loss of a step of every seed."""
    for losses in zip(*(one_seed(options, train, runtime, seed=seed) for seed in range(seeds)), strict=True):
        yield torch.stack(losses).mean()


class Stacked(nn.Module):
    """Several networks as one: every weight and statistic has a row for each; images (seeds x B, C, H, W), logits alike."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        parameters, statistics = stack_module_state(networks)
        self.names = list(parameters)
        self.rows = nn.ParameterList(parameters.values())
        self.statistics = statistics
        self.of_one = [copy.deepcopy(networks[0]).to("meta")]  # in a list, for its weights are not this module's

    def forward(self, images: Tensor) -> Tensor:
        parameters = dict(zip(self.names, self.rows, strict=True))
        each = images.unflatten(0, (len(self.rows[0]), -1))
        found = vmap(lambda p, s, x: functional_call(self.of_one[0], (p, s), (x,)))(parameters, self.statistics, each)
        return found.flatten(0, 1)


def vmapped(options: ClassifierOptions, train: ImageSet, runtime: Runtime, *, seeds: int) -> Iterator[Tensor]:
    """The same losses from one network that holds all seeds' weights."""
    learners, batches = zip(*(learning(options, train, runtime, seed=seed) for seed in range(seeds)), strict=True)
    network = Stacked([learner.network for learner in learners])
    settings = {name: learners[0].optimizer.param_groups[0][name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    optimizer = torch.optim.SGD(network.parameters(), fused=True, **settings)
    joined = dataclasses.replace(
        learners[0],
        network=network,
        forward=network,
        optimizer=optimizer,
        source_weights=learners[0].source_weights * seeds,  # a mean over the images of all seeds, to the gradients of each
    )
    take_step = step_taker(joined)
    for parts in zip(*batches, strict=True):
        images, labels, sources, class_counts = zip(*parts, strict=True)
        batch = Batch(torch.cat(images), torch.cat(labels), torch.cat(sources), class_counts[0])
        yield take_step(batch, options.lr) / seeds


def serve(connection, losses: partial[Iterator[Tensor]], runtime: Runtime, threads: int, clock: str) -> None:
    """Take as many steps as asked whenever a number comes; answer with (seconds, the last loss)."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    steps = losses()
    while (count := connection.recv()) is not None:
        began = CLOCKS[clock]()
        for _ in range(count):
            loss = next(steps)
        runtime.synchronize()
        connection.send((CLOCKS[clock]() - began, float(loss)))


class Group:
    """Processes that take steps at the same time."""

    def __init__(self, tasks: list[partial[Iterator[Tensor]]], runtime: Runtime, *, threads: int, clock: str) -> None:
        context, self.connections, self.clock = multiprocessing.get_context("spawn"), [], clock
        for task in tasks:
            mine, there = context.Pipe()
            context.Process(target=serve, args=(there, task, runtime, threads, clock), daemon=True).start()
            self.connections.append(mine)

    def take(self, steps: int) -> tuple[float, float]:
        """Take so many steps in each: (seconds by the wall, or of all processors; mean of the last losses)."""
        began = time.perf_counter()
        for connection in self.connections:
            connection.send(steps)
        seconds, losses = zip(*(connection.recv() for connection in self.connections), strict=True)
        return time.perf_counter() - began if self.clock == "wall" else sum(seconds), float(np.mean(losses))

    def end(self) -> None:
        for connection in self.connections:
            connection.send(None)


def in_turns(groups: dict[str, Group], *, warming: int, steps: int, rounds: int) -> dict[str, np.ndarray]:
    """(1 + rounds,) for each group: the seconds of its warm-up, then of a step in every round."""
    found = {name: [group.take(warming)[0]] for name, group in groups.items()}
    for _ in range(rounds):
        for name, group in groups.items():
            found[name].append(group.take(steps)[0] / steps)
    for group in groups.values():
        group.end()
    return {name: np.array(seconds) for name, seconds in found.items()}


def minutes(seconds: float, batch_size: int) -> float:
    """For the field's recipe at so many seconds a step."""
    return EPOCHS * IMAGES / batch_size * seconds / 60


def one_classifier(options: ClassifierOptions, train: ImageSet, compared: dict[str, Runtime], a: argparse.Namespace) -> str:
    """The first table, and the fastest way of those that do not compile."""
    groups = {
        way: Group([partial(one_seed, options, train, runtime)], runtime, threads=a.threads, clock=a.clock)
        for way, runtime in compared.items()
    }
    found = in_turns(groups, warming=max(map(warming_steps, compared.values())), steps=a.steps, rounds=a.rounds)
    medians = {way: float(np.median(seconds[1:])) for way, seconds in found.items()}
    first = next(iter(found.values()))
    rows = [
        {
            "way": way,
            "ms a step": medians[way] * 1e3,
            "x the first": float(np.median(first[1:] / seconds[1:])),
            "warm-up, s": float(seconds[0]),
            "minutes": minutes(medians[way], options.batch_size),
        }
        for way, seconds in found.items()
    ]
    show(f"A classifier's step, {told(options, a)}", rows, device=a.device, json_file=a.json)
    return min((way for way in compared if not compared[way].compiled), key=medians.__getitem__)


def several_seeds(options: ClassifierOptions, train: ImageSet, way: str, runtime: Runtime, a: argparse.Namespace) -> None:
    """The second table."""
    one = [partial(one_seed, options, train, runtime, seed=seed) for seed in range(a.seeds)]
    together = {"one after the other": one_after_the_other, "one vmapped network": vmapped}
    groups = {
        how: Group([partial(losses, options, train, runtime, seeds=a.seeds)], runtime, threads=a.threads, clock=a.clock)
        for how, losses in together.items()
    }
    groups["side by side"] = Group(one, runtime, threads=1, clock=a.clock)
    print("Losses of the first step:", ", ".join(f"{how} {group.take(1)[1]:.6f}" for how, group in groups.items()))
    found = in_turns(groups, warming=warming_steps(runtime), steps=a.steps, rounds=a.rounds)
    reference = found["one after the other"]
    rows = [
        {
            "how": how,
            "ms a step and seed": float(np.median(seconds[1:]) * 1e3 / a.seeds),
            "x one after the other": float(np.median(reference[1:] / seconds[1:])),
            "minutes for all": minutes(float(np.median(seconds[1:])), options.batch_size),
        }
        for how, seconds in found.items()
    ]
    show(f"{a.seeds} seeds at once, {way}, {told(options, a)}", rows, device=a.device, json_file=a.json)


def told(options: ClassifierOptions, a: argparse.Namespace) -> str:
    size = f"{a.image_size}x{a.image_size}"
    return f"{options.model}, {size}, batch {options.batch_size}: medians of {a.rounds} rounds of {a.steps} ({a.clock} time)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps a round")
    parser.add_argument("--seeds", type=int, default=2, help="classifiers at once; 1 leaves the second table out")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=CLOCKS)
    for name in ("model", "augment"):
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, default=argparse.SUPPRESS)
    add_json(parser)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    given = {name: value for name, value in vars(a).items() if name in ("model", "augment", "batch_size")}
    options = resolve(ClassifierOptions, given, image_side=a.image_size)
    train = noise_images(a.image_size, count=2048, classes=10 if a.image_size <= 16 else 100)
    compared = ways(a.device, compiled=a.compile)
    fastest = one_classifier(options, train, compared, a)
    if a.seeds > 1:
        several_seeds(options, train, fastest, compared[fastest], a)


if __name__ == "__main__":
    main()
