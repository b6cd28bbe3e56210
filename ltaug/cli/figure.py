"""`ltaug figure`: every figure is a command, drawn into a directory of its own with its data beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ltaug.cli import show
from ltaug.cli.options import RUN, Decorated, SectionCommand, common_options, given, option, options_of, out_option, seed_option
from ltaug.cli.together import carry_out
from ltaug.figures.options import DenoisingOptions, FeaturesOptions, GridOptions, GuidanceOptions, NoOptions, SamplesOptions
from ltaug.machine import COMPUTING, READING


@click.group("figure")
def figure() -> None:
    """Draw the field's figures, each with its data beside it as CSV.

    \b
    ltaug figure samples runs/gen --out runs/sheet
    ltaug figure features runs/ddpm runs/coral --out runs/features
    ltaug figure COMMAND --help
    """


def _figure(name: str, options: type, *, seed: bool, leave_out: str = "") -> Callable[[Decorated], click.Command]:
    """Make a command of a function that only explains the figure; its arguments are added below this decorator."""

    def decorate(function: Decorated) -> click.Command:
        decorated = common_options(READING, COMPUTING, dry_run=False)(function)
        decorated = seed_option("of the noise [default: the first generator's]")(decorated) if seed else decorated
        decorated = options_of(options, "Figure", leave_out=leave_out)(out_option(decorated))
        return figure.command(name, cls=SectionCommand)(decorated)

    return decorate


@_figure("samples", SamplesOptions, seed=True)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
def samples(generator: Path, **values: Any) -> None:
    """Contact sheet: a row of samples for every class.

    \b
    ltaug figure samples runs/gen --per-class 10 --out runs/sheet
    ltaug figure samples runs/gen --classes 9,8,0 --same-noise --out runs/same
    """
    _draw("samples", [generator], SamplesOptions, values)


@_figure("denoising", DenoisingOptions, seed=True)
@click.argument("generator_a", type=RUN, metavar="GENERATOR_A")
@click.argument("generator_b", type=RUN, metavar="GENERATOR_B")
def denoising(generator_a: Path, generator_b: Path, **values: Any) -> None:
    """Two classes under two models from the same noise: the image expected at every noise level.

    \b
    ltaug figure denoising runs/ddpm runs/cbdm --classes 0,9 --out runs/denoising
    """
    _draw("denoising", [generator_a, generator_b], DenoisingOptions, values)


@_figure("features", FeaturesOptions, seed=True)
@click.argument("generators", type=RUN, nargs=-1, required=True, metavar="GENERATOR_RUN...")
def features(generators: tuple[Path, ...], **values: Any) -> None:
    """t-SNE of the network's bottleneck, with the purity and silhouette of the features themselves.

    \b
    ltaug figure features runs/ddpm runs/coral --out runs/features
    ltaug figure features runs/ddpm runs/coral --images test --condition none --out runs/unconditional
    """
    _draw("features", generators, FeaturesOptions, values)


@_figure("grid", GridOptions, seed=True, leave_out="of_class")
@click.argument("generators", type=RUN, nargs=-1, required=True, metavar="GENERATOR_RUN...")
@option("--class", "of_class", metavar="NAME", section="Figure", help="the class drawn [default: the rarest]")
def grid(generators: tuple[Path, ...], **values: Any) -> None:
    """Generators by guidance strengths from the same noise, each image above its nearest training image.

    \b
    ltaug figure grid runs/tau-0 runs/tau-1 runs/tau-3 --strengths 0,1,2 --class 9 --out runs/grid
    """
    _draw("grid", generators, GridOptions, values)


@_figure("guidance", GuidanceOptions, seed=True)
@click.argument("generator", type=RUN, metavar="GENERATOR_RUN")
def guidance(generator: Path, **values: Any) -> None:
    """Quality against guidance strength, from the same noise at every strength.

    \b
    ltaug figure guidance runs/gen --strengths 0,0.5,1,1.5,2 --out runs/guidance
    ltaug figure guidance runs/gen --extractor inception --samples 50000 --out runs/fid

    The evaluations behind it go to DIR.evaluations; if interrupted, rerun the command to resume.
    """
    _draw("guidance", [generator], GuidanceOptions, values)


@_figure("tau", NoOptions, seed=False)
@click.argument("evaluations", type=RUN, nargs=-1, required=True, metavar="EVALUATION_RUN...")
def tau(evaluations: tuple[Path, ...], **values: Any) -> None:
    """Quality against tau, from evaluations of generators that differ in nothing else, over any number of seeds.

    \b
    ltaug figure tau runs/eval-tau-0 runs/eval-tau-1 runs/eval-tau-3 --out runs/tau

    A generator without the class-balancing term counts as tau = 0.
    """
    _draw("tau", evaluations, NoOptions, values)


@_figure("class-fid", NoOptions, seed=False)
@click.argument("evaluations", type=RUN, nargs=-1, required=True, metavar="A B [A B]...")
def class_fid(evaluations: tuple[Path, ...], **values: Any) -> None:
    """Per-class Frechet distance of generator B less that of A, by how frequent the classes are.

    \b
    ltaug figure class-fid runs/eval-ddpm runs/eval-cbdm --out runs/class-fid
    ltaug figure class-fid ddpm/0 cbdm/0 ddpm/1 cbdm/1 --out runs/class-fid

    A and B are evaluations of generators of the same draw; more pairs, such as other seeds, are averaged.
    """
    _draw("class-fid", evaluations, NoOptions, values)


def _draw(kind: str, runs: Sequence[Path], options: type, values: Mapping[str, Any]) -> None:
    asked = {"kind": kind, "runs": list(runs), "given": given(options, values), "seed": values.get("seed")}
    carry_out("draw_figure", asked, values, show.figure)
