"""`ltaug export`: the images of a synthesis in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltaug.cli.options import DIRECTORY, RUN, SectionCommand, common_options, machine, option
from ltaug.cli.progress import progress
from ltaug.cli.show import as_object
from ltaug.machine import READING
from ltaug.methods import LAYOUTS


@click.command("export", cls=SectionCommand)
@click.argument("run", type=RUN, metavar="SYNTHESIZE_RUN")
@option("--to", required=True, metavar=f"[{'|'.join(LAYOUTS)}]", help="how the images are laid out")
@option("--with-real", is_flag=True, help="the real training images too, before the synthetic ones")
@option("--out", type=DIRECTORY, required=True, metavar="DIR", help="appears complete or not at all")
@common_options(READING, dry_run=False)
def export(run: Path, to: str, out: Path, with_real: bool, as_json: bool, quiet: bool, **values: Any) -> None:
    """Write the kept images, or the merged set, for other trainers: every class, label numbers, provenance, a card.

    \b
    ltaug export runs/syn --to imagefolder --with-real --out merged
    ltaug export runs/syn --to parquet --out synthetic

    imagefolder is read by torchvision's ImageFolder and load_dataset("imagefolder", data_dir=DIR), parquet by
    load_dataset(DIR), hf by load_from_disk(DIR), webdataset by its own package. A label has ltaug's number in all of them.
    """
    from ltaug import stages

    with progress(quiet=quiet) as listener:
        found = stages.export(run, to=to, out=out, with_real=with_real, machine=machine(values), listener=listener)
    if as_json:
        as_object(found)
    else:
        images = f"{found['real']} real and {found['synthetic']} synthetic images"
        click.echo(f"{out} has {images} of {len(found['per_class'])} classes.")
