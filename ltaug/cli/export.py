"""`ltaug export`: the images of a synthesis, or the network of a generator, in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltaug.cli.options import DIRECTORY, RUN, SectionCommand, common_options, machine, option
from ltaug.cli.progress import progress
from ltaug.cli.show import as_object
from ltaug.errors import OptionError
from ltaug.machine import READING
from ltaug.methods import GENERATOR_LAYOUTS, LAYOUTS


@click.command("export", cls=SectionCommand)
@click.argument("run", type=RUN, metavar="RUN")
@option(
    "--to",
    required=True,
    metavar=f"[{'|'.join([*LAYOUTS, *GENERATOR_LAYOUTS])}]",
    help=f"how images are laid out; {' and '.join(GENERATOR_LAYOUTS)} are for a generator",
)
@option("--with-real", is_flag=True, help="the real training images too, before the synthetic ones")
@option("--out", type=DIRECTORY, required=True, metavar="DIR", help="appears complete or not at all")
@common_options(READING, dry_run=False)
def export(run: Path, to: str, out: Path, with_real: bool, as_json: bool, quiet: bool, **values: Any) -> None:
    """Write a synthesis's kept images, or the merged set, for other trainers: every class, label numbers, provenance, a card.

    \b
    ltaug export runs/syn --to imagefolder --with-real --out merged
    ltaug export runs/syn --to parquet --out synthetic
    ltaug export runs/gen --to safetensors --out network

    imagefolder is read by torchvision's ImageFolder and load_dataset("imagefolder", data_dir=DIR), parquet by
    load_dataset(DIR), hf by load_from_disk(DIR), webdataset by its own package. A label has ltaug's number in all of them.
    A generator that was fitted with --pretrained becomes a pipeline of diffusers, any other one safetensors with its options; a
    card says how they are loaded and sampled.
    """
    from ltaug import stages

    if to in GENERATOR_LAYOUTS:
        if with_real:
            raise OptionError(f"--with-real is for the images of a synthesis, and --to {to} for a generator; leave it out")
        made = stages.export_generator(run, to=to, out=out, machine=machine(values))
        as_object(made) if as_json else click.echo(f"{out} has a generator of {len(made['classes'])} classes for {to}.")
        return
    with progress(quiet=quiet) as listener:
        found = stages.export(run, to=to, out=out, with_real=with_real, machine=machine(values), listener=listener)
    if as_json:
        as_object(found)
    else:
        images = f"{found['real']} real and {found['synthetic']} synthetic images"
        click.echo(f"{out} has {images} of {len(found['per_class'])} classes.")
