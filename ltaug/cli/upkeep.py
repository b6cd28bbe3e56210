"""`ltaug check`, `clean` and `doctor`: what is damaged, what is no longer needed, and what is wrong with the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltaug.cli.options import RUN, SectionCommand, common_options, machine, option
from ltaug.cli.progress import progress
from ltaug.cli.show import as_object
from ltaug.disk import size
from ltaug.errors import CorruptError, LtaugError
from ltaug.machine import COMPUTING


@click.command("check", cls=SectionCommand)
@click.argument("paths", nargs=-1, required=True, type=RUN, metavar="PATH...")
@common_options(dry_run=False, writes=False)
def check(paths: tuple[Path, ...], as_json: bool) -> int:
    """Read runs, reports or the dataset cache back, and say what is damaged and how to mend it.

    \b
    ltaug check runs
    ltaug check ~/.cache/ltaug --json

    Directories are searched with everything below them, and nothing in them is changed. The exit code is 7 where anything is
    damaged.
    """
    from ltaug import stages

    found = stages.find_damage(list(paths))
    if as_json:
        as_object(found._asdict() | {"damages": [one._asdict() for one in found.damages]})
    else:
        for one in found.damages:
            click.echo(f"{one.what}. Lost: {one.costs}. To mend it: {one.remedy}.")
        for path in found.unfinished:
            click.echo(f"Note: {path} is not finished; run its command again to continue it.")
        read = f"runs read: {found.runs}, reports: {found.reports}, cached datasets: {found.cached}"
        click.echo(f"Damages: {len(found.damages)} ({read}).")
    return CorruptError.exit_code if found.damages else 0


@click.command("clean", cls=SectionCommand)
@click.argument("paths", nargs=-1, required=True, type=RUN, metavar="PATH...")
@option("--yes", is_flag=True, help="remove what is listed [default: list it and change nothing]")
@common_options(dry_run=False, writes=False)
def clean(paths: tuple[Path, ...], yes: bool, as_json: bool) -> None:
    """List what runs no longer need, with its size and what removing it costs; with --yes, remove it.

    \b
    ltaug clean runs
    ltaug clean runs --yes
    ltaug clean ~/.cache/ltaug

    Directories are searched with everything below them. Finished runs keep their outputs, and can be checked, reported and used
    as before. Cached datasets are listed only where the cache directory itself is a PATH. What another process works on is left.
    """
    from ltaug import stages

    found = stages.find_leftovers(list(paths), remove=yes)
    if as_json:
        as_object({"removed": yes, **found._asdict(), "leftovers": [one._asdict() for one in found.leftovers]})
        return
    for one in found.leftovers:
        click.echo(f"{size(one.size):>7}  {one.path}: {one.what}. Removing it costs {one.costs}.")
    for path, reason in found.left:
        click.echo(f"Note: {path} is left alone: {reason}.")
    total = size(sum(one.size for one in found.leftovers))
    then = "" if yes or not found.leftovers else "; --yes removes it"
    click.echo(f"{'Removed' if yes else 'Not needed'}: {total}{then}.")


@click.command("doctor", cls=SectionCommand)
@common_options(COMPUTING, dry_run=False)
def doctor(as_json: bool, quiet: bool, **values: Any) -> int:
    """Look at this machine and its packages, try everything out on it for some seconds, and say what is wrong.

    \b
    ltaug doctor
    ltaug doctor --device cpu --json

    The exit code is 1 where anything is a problem. The last line is one to paste into a bug report.
    """
    from ltaug import stages

    with progress(quiet=quiet) as listener:
        found = stages.diagnose(machine(values), listener)
    if as_json:
        as_object({"findings": [one._asdict() for one in found.findings], "line": found.line})
    else:
        for one in found.findings:
            remedy = f"; {one.remedy}" if one.remedy else ""
            click.echo(f"{one.state:<8} {one.about}: {one.text}{remedy}")
        click.echo(f"Problems: {len(found.problems)}. For a bug report:")
        click.echo(found.line)
    return LtaugError.exit_code if found.problems else 0
