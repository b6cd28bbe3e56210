"""One stage's call from the command line, also where a launcher started it several times: who may, and who says what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from ltaug.cli import dryrun
from ltaug.cli.options import machine
from ltaug.cli.progress import progress
from ltaug.errors import EndedElsewhere, LtaugError, OptionError, told_of_resources
from ltaug.place import Place, place_of
from ltaug.runs import RUN_FILE, Listener, ignore_events, read_run

SHARING = "fit-generator"
INSTEAD = {"synthesize": "; give it --workers, --part or --engine", "train-classifier": "; give it --workers or --engine"}


class RankError(LtaugError):
    """A mistake that a process which does not lead met in its part of the work."""

    def __init__(self, rank: int, error: LtaugError | OSError) -> None:
        super().__init__(f"rank {rank}: {error}")
        self.exit_code = error.exit_code if isinstance(error, LtaugError) else LtaugError.exit_code


def require_sharing(command: str | None) -> None:
    """Raise OptionError where several processes were started of a command that has nothing to share among them."""
    world = place_of().world
    if world > 1 and command != SHARING:
        raise OptionError(
            f"{world} processes were started (WORLD_SIZE), but ltaug {command} has no work to share in this way; start it "
            f"without torchrun, which is for {SHARING}{INSTEAD.get(command or '', '')}"
        )


@contextmanager
def working(*, quiet: bool) -> Iterator[tuple[Place, Listener]]:
    """This process's place, and a listener that shows progress if the process leads.

    Raises:
        RankError: in place of another process's LtaugError or OSError.
    """
    place = place_of()
    if place.leads:
        with progress(quiet=quiet) as listener:
            yield place, listener
        return
    try:
        with told_of_resources():
            yield place, ignore_events
    except EndedElsewhere:
        raise
    except (LtaugError, OSError) as error:
        raise RankError(place.rank, error) from error


def carry_out(function: str, asked: Mapping[str, Any], values: Mapping[str, Any], shown: Callable[..., None]) -> None:
    """Make one stage's call and show its run, or with --dry-run say what it would do.

    Args:
        function: of ltaug.stages.
        asked: its arguments, except those that every stage takes.
        values: the command's common flags.
        shown: called with the run directory, `already_done` and `as_json`.
    """
    out, where, as_json = values["out"], machine(values), values["as_json"]
    if values.get("dry_run"):
        dryrun.stage(function, out, asked, where, as_json=as_json)
        return
    from ltaug import stages

    before = (out / RUN_FILE).exists() and read_run(out)["status"] == "finished"
    with working(quiet=values["quiet"]) as (place, listener):
        sharing = {"place": place} if click.get_current_context().info_name == SHARING else {}
        getattr(stages, function)(**asked, out=out, machine=where, listener=listener, **sharing)
    if place.leads:
        shown(out, already_done=before, as_json=as_json)


def speaks(place: Place, error: BaseException) -> bool:
    """Whether this process says that it ends with this error.

    The one that leads does; another one says what it met in its own part of the work. Other mistakes, such as a misspelt
    option, all processes make alike, and one on every machine says so.
    """
    if isinstance(error, EndedElsewhere):
        return False
    return place.local_rank == 0 or place.leads or isinstance(error, RankError)
