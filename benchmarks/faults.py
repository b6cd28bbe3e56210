"""What faults do to an experiment that is finished.

    python benchmarks/faults.py flips                    # 500 random single-byte changes, each looked for by `ltaug check`

The experiment is that of tests/test_check.py: a recipe on digits with folders and shards, an evaluation, a report, a cached set.
"harmless" are changes in a PNG of a synthesis that leave its pixels what they were; "missed" has to be 0.
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


def flip_bytes(root: Path, number: int, seed: int) -> list[dict]:
    """A row an artefact, and one for all."""
    outcomes = Counter((kind_of(flip.file), flip.outcome) for flip in flips(root, number, seed=seed))
    kinds = sorted({kind for kind, _ in outcomes})
    rows = [{"artefact": k, "flips": 0} | {o: outcomes[k, o] for o in ("found", "harmless", "missed")} for k in kinds]
    rows.append({"artefact": "all", "flips": 0} | {o: sum(row[o] for row in rows) for o in ("found", "harmless", "missed")})
    return [row | {"flips": row["found"] + row["harmless"] + row["missed"]} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", choices=["flips"])
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_experiment(Path(folder) / "made")
        rows = flip_bytes(Path(folder) / "made", a.number, a.seed)
    show(f"{a.number} changed bytes; exempt: {', '.join(EXEMPT)}", rows, device="cpu", json_file=a.json)
    sys.exit(rows[-1]["missed"] > 0)


if __name__ == "__main__":
    main()
