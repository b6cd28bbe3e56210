"""What faults do to an experiment that is finished.

    python benchmarks/faults.py flips                    # 500 random single-byte changes, each looked for by `ltaug check`
    python benchmarks/faults.py fuzz --number 2000       # inputs nobody would give, each ending in a result or in a sentence

The experiment is that of tests/test_check.py: a recipe on digits with folders and shards, an evaluation, a report, a cached set.
"harmless" are changes in a PNG of a synthesis that leave its pixels what they were; "missed" has to be 0.
Of fuzzed inputs (tests/fuzzing.py) all are "done" or "refused"; what is neither is printed, and "other" has to be 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tables import add_json, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from flipping import EXEMPT, flips, kind_of, make_experiment
from fuzzing import GOOD, KINDS, fuzz


def flip_bytes(root: Path, number: int, seed: int) -> list[dict]:
    """A row an artefact, and one for all."""
    outcomes = Counter((kind_of(flip.file), flip.outcome) for flip in flips(root, number, seed=seed))
    kinds = sorted({kind for kind, _ in outcomes})
    rows = [{"artefact": k, "flips": 0} | {o: outcomes[k, o] for o in ("found", "harmless", "missed")} for k in kinds]
    rows.append({"artefact": "all", "flips": 0} | {o: sum(row[o] for row in rows) for o in ("found", "harmless", "missed")})
    return [row | {"flips": row["found"] + row["harmless"] + row["missed"]} for row in rows]


def fuzz_inputs(root: Path, number: int, seed: int) -> list[dict]:
    """A row a kind of input, and one for all."""
    outcomes: Counter[tuple[str, str]] = Counter()
    for one in fuzz(root / "fuzz", root / "made", number, seed=seed):
        outcomes[one.kind, one.outcome if one.outcome in GOOD else "other"] += 1
        if one.outcome not in GOOD:
            print(f"{one.kind} {one.description}: {one.outcome}", file=sys.stderr)
    rows = [{"input": kind} | {o: outcomes[kind, o] for o in (*GOOD, "other")} for kind in KINDS]
    return [*rows, {"input": "all"} | {o: sum(row[o] for row in rows) for o in (*GOOD, "other")}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", choices=["flips", "fuzz"])
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_experiment(Path(folder) / "made")
        if a.fault == "fuzz":
            title, rows = f"{a.number} fuzzed inputs, seed {a.seed}", fuzz_inputs(Path(folder), a.number, a.seed)
        else:
            title = f"{a.number} changed bytes; exempt: {', '.join(EXEMPT)}"
            rows = flip_bytes(Path(folder) / "made", a.number, a.seed)
    show(title, rows, device="cpu", json_file=a.json)
    sys.exit(rows[-1].get("missed", 0) + rows[-1].get("other", 0) > 0)


if __name__ == "__main__":
    main()
