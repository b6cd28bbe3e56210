"""What faults do to an experiment: those that come while it is made, and those of its files afterwards.

    python benchmarks/faults.py writes      # each fault before every write of every command, which is then run again
    python benchmarks/faults.py writes --fault kill --command run --number 50
    python benchmarks/faults.py flips       # random single-byte changes of a finished one, looked for by `ltaug check`
    python benchmarks/faults.py fuzz        # inputs nobody would give, each ending in a result or in a sentence

"failed", "missed" and "other" have to be 0. A disturbed command has failed if it ends in a traceback or an undocumented exit
code, or if the same command, run again, does not end with what an undisturbed one makes, byte for byte but for times.
"harmless" are changed bytes in a PNG of a synthesis that leave its pixels what they were. `writes` takes hours in full;
--number samples.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tables import add_json, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from faulting import COMMANDS, FAULTS, Rig
from flipping import EXEMPT, flips, kind_of, make_experiment
from fuzzing import GOOD, KINDS, fuzz


def flip_bytes(root: Path, number: int, seed: int) -> list[dict]:
    """A row an artefact, and one for all."""
    make_experiment(root)
    outcomes = Counter((kind_of(flip.file), flip.outcome) for flip in flips(root, number, seed=seed))
    kinds = sorted({kind for kind, _ in outcomes})
    rows = [{"artefact": k, "flips": 0} | {o: outcomes[k, o] for o in ("found", "harmless", "missed")} for k in kinds]
    rows.append({"artefact": "all", "flips": 0} | {o: sum(row[o] for row in rows) for o in ("found", "harmless", "missed")})
    return [row | {"flips": row["found"] + row["harmless"] + row["missed"]} for row in rows]


def disturb(root: Path, commands: list[str], faults: list[str], number: int | None, seed: int) -> list[dict]:
    """A row a command, with how many writes were disturbed by each fault, and how many of these failed."""
    rig, rows = Rig(root), []
    for command in commands:
        done, failed = Counter(), 0
        for trial in rig.trials(command, faults, sample=number, seed=seed):
            done[trial.fault] += 1
            if trial.failed:
                failed += 1
                print(f"{command}: {trial.fault} before write {trial.point} ({trial.place}): {trial.failed}", file=sys.stderr)
        rows.append({"command": command, **{fault: done[fault] for fault in faults}, "failed": failed})
    return rows


def fuzz_inputs(root: Path, number: int, seed: int) -> list[dict]:
    """A row a kind of input, and one for all."""
    outcomes: Counter[tuple[str, str]] = Counter()
    make_experiment(root / "made")
    for one in fuzz(root / "fuzz", root / "made", number, seed=seed):
        outcomes[one.kind, one.outcome if one.outcome in GOOD else "other"] += 1
        if one.outcome not in GOOD:
            print(f"{one.kind} {one.description}: {one.outcome}", file=sys.stderr)
    rows = [{"input": kind} | {o: outcomes[kind, o] for o in (*GOOD, "other")} for kind in KINDS]
    return [*rows, {"input": "all"} | {o: sum(row[o] for row in rows) for o in (*GOOD, "other")}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["writes", "flips", "fuzz"])
    parser.add_argument("--number", type=int, help="flips [500], inputs [2000], or writes of a command [all]")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="writes: only this fault; repeatable")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="writes: only this command; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "made"
        if a.kind == "flips":
            title, rows = f"exempt: {', '.join(EXEMPT)}", flip_bytes(root, a.number or 500, a.seed)
        elif a.kind == "fuzz":
            title, rows = f"fuzzed inputs, seed {a.seed}", fuzz_inputs(root, a.number or 2000, a.seed)
        else:
            title = "writes that were disturbed"
            rows = disturb(root, a.command or [*COMMANDS], a.fault or [*FAULTS], a.number, a.seed)
    show(title, rows, device="cpu", json_file=a.json)
    sys.exit(any(row.get(bad) for row in rows for bad in ("failed", "missed", "other")))


if __name__ == "__main__":
    main()
