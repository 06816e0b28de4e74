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
from aftrans_jax.studies.finished_runs import (
    FinishedRun,
    TableRow,
    read_annotated_run,
    read_finished_run,
    table_rows,
)
from aftrans_jax.studies.pictures import compared_images, disagreements
from aftrans_jax.studies.plan import Run
from aftrans_jax.studies.tables import (
    RowFigures,
    cells,
    comma_separated,
    figures,
    header,
    markdown,
    notes,
)
from aftrans_jax.training.reporting import read_history

_LEAST_RATIO = 1.05  # of the costs of two rows; a plot of closer ones would show nothing


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
    runs: dict[str, list[FinishedRun]] = {}
    heads: dict[str, tuple[str, ...]] = {}
    for run in sorted(finished, key=lambda run: run.seed):
        read = read_finished_run if run.trained is None else read_annotated_run
        runs.setdefault(run.row, []).append(read(run.workdir))
        heads[run.row] = run.heads
    rows = [
        row
        for name, setting in study.rows.items()
        if name in runs
        for row in table_rows(name, heads[name], runs[name], setting.paper)
    ]
    base = next((row for row in rows if row.setting == study.base), None)
    write_table(workdir, study.title, rows, base, command)


def write_table(
    workdir: Path,
    title: str,
    rows: Sequence[TableRow],
    base: TableRow | None,
    command: str,
    changed: Sequence[Sequence[str]] = (),
) -> None:
    """Writes the files of a table, each complete or not at all.

    Args:
      workdir: directory for the files.
      title: title of the table.
      rows: rows of the table, at least one.
      base: row that the others are compared with, None where it is not there yet.
      command: command that makes the table.
      changed: rows of a table of the settings that differ between rows, only its header where
        none do; none: no such table.

    Raises:
      OSError: a file cannot be written.
      ValueError: a row and the base have no test image in common.
    """
    table = figures(rows, base)
    write_bytes(workdir / "table.md", _encoded(markdown(title, table, base, command, changed)))
    write_bytes(workdir / "table.csv", _encoded(comma_separated(table)))
    groups, why_none = disagreements(table, base)
    page = Comparison(
        title=title,
        header=header(table),
        rows=list(cells(table)),
        notes=notes(base),
        series=[row.name for row in rows],
        plots=plots(table),
        compared_images=compared_images(rows),
        groups=groups,
        no_pictures=why_none,
        command=command,
        changed=changed,
    )
    write_comparison(workdir / "table.html", page)


def plots(table: Sequence[RowFigures]) -> list[Plot]:
    """Returns the plots of a table: accuracies, differences, cost, gates and training curves."""
    accuracies = []
    differences = []
    costs = []
    for series, entry in enumerate(table):
        mean, deviation = entry.accuracy
        values = entry.row.accuracies(entry.row.head)
        singles = [] if values is None else values.tolist()
        name = entry.row.name
        accuracies.append(Measured(series, name, mean, mean - deviation, mean + deviation, singles))
        if entry.difference is not None and entry.pairing is not None:
            part = f", {entry.pairing.part}" if entry.pairing.part else ""
            differences.append(Measured(series, name + part, *entry.difference[:3]))
        costs.append((series, entry.gflop, mean))
    drawn = [dots("Test accuracy, mean and standard deviation, and each seed", "%", accuracies)]
    if differences := [x for x in differences if math.isfinite(x.value)]:
        title = "Difference to the base, with its 95 % interval"
        drawn.append(dots(title, "points", differences, has_zero=True))
    if max(cost[1] for cost in costs) > _LEAST_RATIO * min(cost[1] for cost in costs):
        title = "Test accuracy in % against the cost of a prediction"
        drawn.append(scatter(title, "GFLOP an image", costs))
    first = _first_series(table)
    drawn += layer_plots(table)
    runs = {
        first[entry.row.setting]: entry.row.runs[0]
        for entry in table
        if entry.row.runs[0].settings["region.method"] != ANNOTATED  # not trained itself
    }
    seeds = {run.seed for run in runs.values()}
    which = f"seed {seeds.pop()}" if len(seeds) == 1 else "each row's first run"
    histories = {i: read_history(runs[i].workdir / "metrics.jsonl") for i in sorted(runs)}
    for key, name, scale in (("loss", "loss", 1.0), ("accuracy", "accuracy in %", 100.0)):
        points = {i: points_of(history, key, scale=scale) for i, history in histories.items()}
        if lines := {i: recorded for i, recorded in points.items() if recorded is not None}:
            drawn.append(curves(f"Training {name}, {which}", lines))
    return drawn


def layer_plots(table: Sequence[RowFigures]) -> list[Plot]:
    """Returns the accuracy by layer, where rows use single layers, and the gates where known."""
    drawn = []
    single = {}
    others = {}
    for series, entry in enumerate(table):
        layers = entry.row.runs[0].settings["sacm.layers"]
        mean = entry.accuracy[0]
        if len(layers) == 1:
            single[series] = {layers[0]: mean}
        else:
            others[series] = mean
    if len(single) > 1:
        title = "Test accuracy in % by the layer whose attention is read; lines: other rows"
        means = [*others.values(), *(mean for by in single.values() for mean in by.values())]
        drawn.append(by_layer(title, single, others, (min(means), max(means))))
    gates = {}
    for name, series in _first_series(table).items():
        row = next(entry.row for entry in table if entry.row.setting == name)
        recorded = [run.result.get("gate_mean") for run in row.runs]
        if by_seed := [gate for gate in recorded if gate]:
            means = enumerate(np.mean(by_seed, axis=0).tolist(), start=1)
            gates[series] = {number: mean for number, mean in means if mean}  # 0: layer not fused
    if gates:
        drawn.append(by_layer("Mean gate of each layer that is fused", gates, {}, (0.0, 1.0)))
    return drawn


def _first_series(table: Sequence[RowFigures]) -> dict[str, int]:
    """Returns the number of each setting's first row."""
    return {entry.row.setting: series for series, entry in reversed(list(enumerate(table)))}


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a name may hold bytes that are not UTF-8
