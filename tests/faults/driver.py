"""Shared by the fault drivers: arguments, trials with fixed seeds, the table of outcomes."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# A driver is run as a file, so this checkout's package and test helpers must be found first.
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

Trial = Callable[[str, int], str | None]  # of a kind and a seed: None if right, else what is wrong


def tried(name: str, kinds: Sequence[str], run_one: Trial, count: int) -> dict[str, Any]:
    """Runs trials 0 to count - 1, the kinds in turn; returns a row for each kind."""
    rows = {kind: {"tried": 0, "right": 0, "wrong": []} for kind in kinds}
    for seed in range(count):
        kind = kinds[seed % len(kinds)]
        try:
            problem = run_one(kind, seed)
        except Exception:
            problem = traceback.format_exc()
        row = rows[kind]
        row["tried"] += 1
        row["right"] += problem is None
        if problem is not None:
            row["wrong"].append({"seed": seed, "problem": problem})
    return {"driver": name, "kinds": rows}


def main(name: str, kinds: Sequence[str], run_one: Trial) -> None:
    """Runs `--count` trials, prints their table, exits with 1 if one is wrong.

    `--out` names a JSON file that holds the table of each driver by its name.
    """
    parser = argparse.ArgumentParser(description=f"Faults of the kind {name}.")
    parser.add_argument("--count", type=int, default=2 * len(kinds))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    table = tried(name, kinds, run_one, args.count)
    for kind, row in table["kinds"].items():
        print(f"{name}\t{kind}\t{row['tried']} tried\t{row['right']} right")
        for wrong in row["wrong"]:
            print(f"  seed {wrong['seed']}: {wrong['problem']}")
    if args.out:
        from benchmarks.harness.records import commit  # found through the path above

        tables = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
        tables[name] = {
            "count": args.count,
            "seconds": round(time.monotonic() - began),
            "commit": commit(),
            "kinds": table["kinds"],
        }
        args.out.write_text(json.dumps(tables, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    parser.exit(int(any(row["wrong"] for row in table["kinds"].values())))
