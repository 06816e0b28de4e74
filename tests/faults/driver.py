"""What the fault drivers share: arguments, the table of outcomes, the JSON file."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def survey(
    trials: Sequence[str], run_one: Callable[[str, int], str | None], count: int
) -> list[dict[str, Any]]:
    """A row for each kind of fault: how often it was tried, how often the outcome was right.

    `run_one` makes one fault of a kind from a seed and returns what is wrong with the outcome, None
    where nothing is. The seeds are 0, 1, ..., so that any outcome can be had again.
    """
    rows = []
    for number, kind in enumerate(trials):
        seeds = range(number, count, len(trials))
        outcomes = {seed: run_one(kind, seed) for seed in seeds}
        wrong = {seed: text for seed, text in outcomes.items() if text is not None}
        right = len(outcomes) - len(wrong)
        rows.append({"kind": kind, "tried": len(outcomes), "right": right, "wrong": wrong})
    return rows


def main(name: str, trials: Sequence[str], run_one: Callable[[str, int], str | None]) -> None:
    """Prints the table, adds it to a JSON file under the driver's name; exits 1 if any is wrong."""
    parser = argparse.ArgumentParser(description=f"Faults: {name}.")
    parser.add_argument("--count", type=int, default=100, help="faults of all kinds together")
    parser.add_argument("--out", type=Path, help="JSON file to add the table to")
    args = parser.parse_args()
    rows = survey(trials, run_one, args.count)
    for row in rows:
        print(f"{row['kind']:30} {row['tried']:6} tried {row['right']:6} right")
        for seed, text in row["wrong"].items():
            print(f"    wrong with seed {seed}: {text}")
    if args.out:
        tables = json.loads(args.out.read_text()) if args.out.exists() else {}
        args.out.write_text(json.dumps(tables | {name: rows}, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(row["wrong"] for row in rows))
