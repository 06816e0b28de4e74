"""Puts the results of several runs into one JSON: `python -m benchmarks.collect DIR... --out JSON`.

Runs that differ by their seed alone form a group, with mean and standard deviation over the seeds.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from aftrans_jax.json_files import write_json
from aftrans_jax.model.heads import HEADS

FIGURES = (
    *(f"{head}_accuracy" for head in HEADS),
    "box_area_mean",
    "box_iou_mean",
    "centred_box_iou_mean",
    "box_contains_mean",
    "images_per_second",
    "seconds",
)


def summarize(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Returns mean and standard deviation of each figure that all runs have."""
    summary = {}
    for name in FIGURES:
        values = [run[name] for run in runs if run.get(name) is not None]
        if len(values) == len(runs):
            spread = statistics.stdev(values) if len(values) > 1 else None
            summary[name] = {"mean": statistics.fmean(values), "std": spread}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description="Collects result.json files.")
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--note", help="what a reader should know of these runs")
    args = parser.parse_args()
    groups = defaultdict(list)
    for workdir in args.workdirs:
        run = json.loads((workdir / "result.json").read_text(encoding="utf-8"))
        config = run["config"] | {"seed": None}
        groups[json.dumps(config, sort_keys=True)].append(run)
    content = []
    for key, runs in groups.items():
        config = json.loads(key)
        model = config["model"]["name"]
        precision = config["train"]["precision"]
        name = f"{model}, {runs[0]['step']} steps, precision {precision}"
        summary = summarize(runs)
        shown = "  ".join(
            f"{figure} {value['mean']:.3f}" + (f" +- {value['std']:.3f}" if value["std"] else "")
            for figure, value in summary.items()
        )
        print(f"{name}, {len(runs)} seeds: {shown}")
        seeds = [run["config"]["seed"] for run in runs]
        content.append(
            {
                "name": name,
                "seeds": seeds,
                "summary": summary,
                "runs": [{figure: run.get(figure) for figure in FIGURES} for run in runs],
                "device": runs[0]["device"],
                "versions": runs[0]["versions"],
                "config": config,
            }
        )
    write_json(args.out, {"note": args.note, "groups": content})


if __name__ == "__main__":
    main()
