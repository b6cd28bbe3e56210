"""`ltaug export`: the images of a synthesis in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltaug.cli.options import DIRECTORY, RUN, SectionCommand, common_options, machine, option
from ltaug.cli.progress import progress
from ltaug.cli.show import as_object
from ltaug.errors import OptionError
from ltaug.machine import READING
from ltaug.methods import LAYOUTS

DIFFUSERS = "diffusers"


@click.command("export", cls=SectionCommand)
@click.argument("run", type=RUN, metavar="RUN")
@option(
    "--to",
    required=True,
    metavar=f"[{'|'.join([*LAYOUTS, DIFFUSERS])}]",
    help="how images are laid out; diffusers is for a generator",
)
@option("--with-real", is_flag=True, help="the real training images too, before the synthetic ones")
@option("--out", type=DIRECTORY, required=True, metavar="DIR", help="appears complete or not at all")
@common_options(READING, dry_run=False)
def export(run: Path, to: str, out: Path, with_real: bool, as_json: bool, quiet: bool, **values: Any) -> None:
    """Write a synthesis's kept images, or the merged set, for other trainers: every class, label numbers, provenance, a card.

    \b
    ltaug export runs/syn --to imagefolder --with-real --out merged
    ltaug export runs/syn --to parquet --out synthetic
    ltaug export runs/gen --to diffusers --out pipeline

    imagefolder is read by torchvision's ImageFolder and load_dataset("imagefolder", data_dir=DIR), parquet by
    load_dataset(DIR), hf by load_from_disk(DIR), webdataset by its own package. A label has ltaug's number in all of them.
    A generator that was fitted with --pretrained becomes a pipeline of diffusers.
    """
    from ltaug import stages

    if to == DIFFUSERS:
        if with_real:
            raise OptionError("--with-real is for the images of a synthesis, and --to diffusers for a generator; leave it out")
        made = stages.export_generator(run, out=out, machine=machine(values))
        as_object(made) if as_json else click.echo(f"{out} has a pipeline of diffusers for {len(made['classes'])} classes.")
        return
    with progress(quiet=quiet) as listener:
        found = stages.export(run, to=to, out=out, with_real=with_real, machine=machine(values), listener=listener)
    if as_json:
        as_object(found)
    else:
        images = f"{found['real']} real and {found['synthetic']} synthetic images"
        click.echo(f"{out} has {images} of {len(found['per_class'])} classes.")
