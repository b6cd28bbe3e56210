"""The command line: the only place that prints, and where errors become one line and an exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence

import click

from ltaug.cli.commands import group
from ltaug.cli.evaluation import evaluate_generator
from ltaug.cli.figure import figure
from ltaug.errors import LtaugError

INTERRUPTED = 130
group.add_command(evaluate_generator)
group.add_command(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, an LtaugError's own, or 130 after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # Whoever read our output has gone; Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        code = group.main(args=arguments, prog_name="ltaug", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the help itself: whoever types the bare command made no mistake
        return error.exit_code
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code, arguments)
    except LtaugError as error:
        return _failed(str(error), error.exit_code, arguments)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted; the same command continues where it stopped", INTERRUPTED, arguments)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        return _failed(str(error), LtaugError.exit_code, arguments)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int, arguments: list[str]) -> int:
    """Say what went wrong on stderr, where several processes share a command by whom, and, with --json, on stdout too."""
    rank = os.environ.get("RANK") if os.environ.get("WORLD_SIZE", "1") != "1" else None
    click.echo(f"Error: {message}" if rank is None else f"Error: rank {rank}: {message}", err=True)
    if "--json" in arguments:
        click.echo(json.dumps({"error": message, "exit_code": code}))
    return code
