"""Writes table.md, table.csv and table.html of a study or a comparison."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aftrans_jax.experiment.model import ANNOTATED
from aftrans_jax.files import write_bytes
from aftrans_jax.report.comparison import Comparison, write_comparison
from aftrans_jax.report.drawing import Plot
from aftrans_jax.report.plots import Measured, by_layer, curves, dots, points_of, scatter
from aftrans_jax.studies.definition import Study
from aftrans_jax.studies.pictures import disagreements, sights
from aftrans_jax.studies.plan import Run
from aftrans_jax.studies.tables import (
    Figures,
    cells,
    comma_separated,
    figures,
    header,
    markdown,
    notes,
)
from aftrans_jax.studies.trials import Line, Trial, lines_of, read_annotated, read_trial
from aftrans_jax.training.reporting import read_history

_LEAST_RATIO = 1.05  # of the costs of two lines; a plot of closer ones would show nothing


def write_study(study: Study, workdir: Path, finished: Sequence[Run], command: str) -> None:
    """Writes the table of the finished runs of a study.

    Args:
      study: study with its rows.
      workdir: directory for the files.
      finished: at least one run, in any order.
      command: command that made them.

    Raises:
        OSError: a file cannot be written.
        ValueError: the runs contradict each other or the study.
    """
    trials: dict[str, list[Trial]] = {}
    heads: dict[str, tuple[str, ...]] = {}
    for run in sorted(finished, key=lambda run: run.seed):
        read = read_trial if run.trained is None else read_annotated
        trials.setdefault(run.row, []).append(read(run.workdir))
        heads[run.row] = run.heads
    lines = [
        line
        for name, row in study.rows.items()
        if name in trials
        for line in lines_of(name, heads[name], trials[name], row.paper)
    ]
    base = next((line for line in lines if line.row == study.base), None)
    write_table(workdir, study.title, lines, base, command)


def write_table(
    workdir: Path,
    title: str,
    lines: Sequence[Line],
    base: Line | None,
    command: str,
    changed: Sequence[Sequence[str]] = (),
) -> None:
    """Writes the files of a table, each complete or not at all.

    Args:
      workdir: directory for the files.
      title: title of the table.
      lines: lines of the table, at least one.
      base: line that the others are compared with, None where it is not there yet.
      command: command that makes the table.
      changed: rows of a table of the settings that differ between lines, only its header where
        none do; none: no such table.

    Raises:
      OSError: a file cannot be written.
      ValueError: a line and the base have no test image in common.
    """
    table = figures(lines, base)
    write_bytes(workdir / "table.md", _encoded(markdown(title, table, base, command, changed)))
    write_bytes(workdir / "table.csv", _encoded(comma_separated(table)))
    groups, why_none = disagreements(table, base)
    page = Comparison(
        title=title,
        header=header(table),
        rows=list(cells(table)),
        notes=notes(base),
        series=[line.name for line in lines],
        plots=plots(table),
        sights=sights(lines),
        groups=groups,
        no_pictures=why_none,
        command=command,
        changed=changed,
    )
    write_comparison(workdir / "table.html", page)


def plots(table: Sequence[Figures]) -> list[Plot]:
    """Returns the plots of a table: accuracies, differences, cost, gates and training curves."""
    accuracies, differences, costs = [], [], []
    for series, row in enumerate(table):
        mean, deviation = row.accuracy
        values = row.line.accuracies(row.line.head)
        singles = [] if values is None else values.tolist()
        name = row.line.name
        accuracies.append(Measured(series, name, mean, mean - deviation, mean + deviation, singles))
        if row.difference is not None and row.pairing is not None:
            part = f", {row.pairing.part}" if row.pairing.part else ""
            differences.append(Measured(series, name + part, *row.difference[:3]))
        costs.append((series, row.gflop, mean))
    found = [dots("Test accuracy, mean and standard deviation, and each seed", "%", accuracies)]
    if differences := [x for x in differences if math.isfinite(x.value)]:
        title = "Difference to the base, with its 95 % interval"
        found.append(dots(title, "points", differences, has_zero=True))
    if max(cost[1] for cost in costs) > _LEAST_RATIO * min(cost[1] for cost in costs):
        title = "Test accuracy in % against the cost of a prediction"
        found.append(scatter(title, "GFLOP an image", costs))
    first = _first_series(table)
    found += layer_plots(table)
    runs = {
        first[row.line.row]: row.line.trials[0]
        for row in table
        if row.line.trials[0].settings["region.method"] != ANNOTATED  # not trained itself
    }
    seeds = {run.seed for run in runs.values()}
    which = f"seed {seeds.pop()}" if len(seeds) == 1 else "each row's first run"
    histories = {i: read_history(runs[i].workdir / "metrics.jsonl") for i in sorted(runs)}
    for key, name, scale in (("loss", "loss", 1.0), ("accuracy", "accuracy in %", 100.0)):
        known = {i: points_of(history, key, scale=scale) for i, history in histories.items()}
        if lines := {i: points for i, points in known.items() if points is not None}:
            found.append(curves(f"Training {name}, {which}", lines))
    return found


def layer_plots(table: Sequence[Figures]) -> list[Plot]:
    """Returns the accuracy by layer, where rows use single layers, and the gates where known."""
    found, single, others = [], {}, {}
    for series, row in enumerate(table):
        layers, mean = row.line.trials[0].settings["sacm.layers"], row.accuracy[0]
        if len(layers) == 1:
            single[series] = {layers[0]: mean}
        else:
            others[series] = mean
    if len(single) > 1:
        title = "Test accuracy in % by the layer whose attention is read; lines: other rows"
        shown = [*others.values(), *(mean for by in single.values() for mean in by.values())]
        found.append(by_layer(title, single, others, (min(shown), max(shown))))
    gates = {}
    for name, series in _first_series(table).items():
        line = next(row.line for row in table if row.line.row == name)
        told = [trial.result.get("gate_mean") for trial in line.trials]
        if known := [gate for gate in told if gate]:
            means = enumerate(np.mean(known, axis=0).tolist(), start=1)
            gates[series] = {number: mean for number, mean in means if mean}  # 0: layer not fused
    if gates:
        found.append(by_layer("Mean gate of each layer that is fused", gates, {}, (0.0, 1.0)))
    return found


def _first_series(table: Sequence[Figures]) -> dict[str, int]:
    """Returns the number of the first line of each row."""
    return {row.line.row: series for series, row in reversed(list(enumerate(table)))}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a name may hold bytes that are not UTF-8
