"""The command line: the only place that prints, and where errors become one line and an exit code."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import click

from ltaug.cli.commands import group
from ltaug.cli.export import export
from ltaug.cli.figure import figure
from ltaug.cli.grow import grow
from ltaug.cli.planning import plan_recipe
from ltaug.cli.schema import schema
from ltaug.cli.together import speaks
from ltaug.cli.upkeep import check, clean, doctor
from ltaug.errors import INTERRUPTED, LtaugError, resource_error
from ltaug.place import ALONE, Place, place_of
from ltaug.signals import ECHO, interrupted_by_signals

for command in (export, figure, grow, plan_recipe, schema, check, clean, doctor):
    group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, an LtaugError's own, or 130 after Ctrl-C or another signal to stop."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it: a name that the terminal cannot write is escaped
    try:
        with interrupted_by_signals(echo=ECHO if "WORLD_SIZE" in os.environ else 0.0):
            code = _run(given)
            sys.stdout.flush()
    except KeyboardInterrupt:  # again, while the first one was said
        code = INTERRUPTED
    except OSError as error:  # of the output itself
        # Where its reader has gone there is nobody to tell. Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = LtaugError.exit_code
        if error.errno != errno.EPIPE:
            message, code = _told(error)
            click.echo(f"Error: {message}", err=True)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    place = ALONE
    try:
        place = place_of()
        with _results_of(place):
            code = group.main(args=arguments, prog_name="ltaug", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help itself: whoever types the bare command made no mistake
        return error.exit_code
    except (click.ClickException, LtaugError, click.Abort, KeyboardInterrupt, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise
        message, code = _told(error)
        if speaks(place, error):
            click.echo(f"Error: {message}", err=True)
            if place.leads and "--json" in arguments:
                click.echo(json.dumps({"error": message, "exit_code": code}))
    return code if isinstance(code, int) else 0


@contextmanager
def _results_of(place: Place) -> Iterator[None]:
    """Let only the process that leads show results."""
    if place.leads:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _told(error: BaseException) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    error = resource_error(error, "the output") or error
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, LtaugError | OSError):
        return str(error), getattr(error, "exit_code", LtaugError.exit_code)
    return "interrupted; rerun the command to resume", INTERRUPTED
