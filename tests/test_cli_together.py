"""The command line where a launcher started it several times: who speaks, and which commands refuse."""

from __future__ import annotations

import json

import pytest

from ltaug import stages
from ltaug.cli import main
from ltaug.cli.commands import group
from ltaug.cli.together import SHARING
from ltaug.errors import BudgetError, EndedElsewhere
from ltaug.place import Place

WHERE = {"RANK": ("0", "1", "2"), "LOCAL_RANK": ("0", "1", "0")}  # the third is the first of another machine


@pytest.fixture
def call(capsys, monkeypatch):
    """Exit code, stdout and stderr of a command of one of three processes."""

    def called(rank: int, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("WORLD_SIZE", "3")
        for name, values in WHERE.items():
            monkeypatch.setenv(name, values[rank])
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return called


@pytest.mark.parametrize("command", sorted(set(group.commands) - {SHARING}))
def test_commands_with_nothing_to_share_refuse_several_processes_in_one_sentence(call, command):
    code, out, err = call(0, command)
    assert (code, out) == (2, "")
    instead = {"synthesize": "; give it --workers, --part or --engine", "train-classifier": "; give it --workers or --engine"}
    assert err == (
        f"Error: 3 processes were started (WORLD_SIZE), but ltaug {command} has no work to share in this way; start it without "
        f"torchrun, which is for fit-generator{instead.get(command, '')}\n"
    )


def test_a_misspelt_option_is_said_once_on_every_machine(call):
    found = [call(rank, "fit-generator", "--stepz", "3", "--json") for rank in range(3)]
    assert [code for code, _, _ in found] == [2, 2, 2]
    assert [err.count("Error: No such option") for _, _, err in found] == [1, 0, 1]
    assert json.loads(found[0][1])["exit_code"] == 2
    assert [out for _, out, _ in found[1:]] == ["", ""]


def test_the_help_is_shown_by_the_process_that_leads(call):
    shown = [call(rank, "fit-generator", "--help")[1] for rank in range(3)]
    assert [bool(text) for text in shown] == [True, False, False]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BudgetError("too much"), 4, ["Error: too much\n", "Error: rank 1: too much\n", "Error: rank 2: too much\n"]),
        (
            OSError("no space left"),
            1,
            ["Error: no space left\n", "Error: rank 1: no space left\n", "Error: rank 2: no space left\n"],
        ),
        (EndedElsewhere(4), 4, ["", "", ""]),
    ],
    ids=repr,
)
def test_a_mistake_in_the_work_is_said_with_the_rank_and_one_that_another_process_says_is_not(
    call, monkeypatch, tmp_path, error, code, said
):
    places = []

    def fit_generator(*args, place, **kwargs):
        places.append(place)
        raise error

    monkeypatch.setattr(stages, "fit_generator", fit_generator)
    found = [call(rank, "fit-generator", "--out", str(tmp_path / "gen"), "--quiet") for rank in range(3)]
    assert found == [(code, "", text) for text in said]
    assert places == [Place(0, 3, 0), Place(1, 3, 1), Place(2, 3, 0)]


def test_a_dry_run_is_made_by_the_process_that_leads(call, monkeypatch, tmp_path):
    monkeypatch.setattr(stages, "estimate", lambda *args, **kwargs: pytest.fail("measured"))
    assert call(1, "fit-generator", "--out", str(tmp_path / "gen"), "--dry-run") == (0, "", "")
