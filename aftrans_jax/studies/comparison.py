"""Finished runs side by side, as rows of a table, and the settings that differ."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from aftrans_jax.studies.finished_runs import FinishedRun, TableRow, judged_by, read_finished_run


def rows_between(workdirs: Sequence[Path], heads: Sequence[str]) -> list[TableRow]:
    """Returns the table's rows of runs; runs that differ only in their seeds share a row.

    With `heads` given, runs may differ in `eval.logits`, too.

    Args:
      workdirs: directories of finished runs, the base first.
      heads: logits to judge by, a row each where a run has them; none: each run's `eval.logits`.

    Raises:
      FileNotFoundError: a directory holds no finished run.
      ValueError: fewer than two runs are given, or a run has none of the logits.
    """
    places = {path.resolve(): path for path in workdirs}
    if len(places) < 2:
        raise ValueError(
            f"{', '.join(map(str, workdirs)) or 'nothing'} is given: expected the directories of "
            "two or more finished runs"
        )
    groups: dict[str, list[FinishedRun]] = {}
    aside = dict.fromkeys(["seed", "eval.logits"] if heads else ["seed"])
    for workdir in places.values():
        run = read_finished_run(workdir)
        alike = json.dumps({**run.settings, **aside}, sort_keys=True)
        seeds = [other.seed for other in groups.get(alike, [])]
        groups.setdefault(f"{alike} {workdir}" if run.seed in seeds else alike, []).append(run)
    rows = []
    above = os.path.commonpath([path.parent for path in places])
    for runs in groups.values():
        runs.sort(key=lambda run: run.seed)
    names = [_name(runs, above) for runs in groups.values()]
    for runs, name in zip(groups.values(), names, strict=True):
        if names.count(name) > 1:  # runs of several settings are in one folder
            name = ", ".join(_places(runs, above))
        own = [head for head in heads if head in runs[0].predictions.predicted]
        rows += [TableRow(name, head, runs) for head in judged_by(runs[0], own or heads)]
    return rows


def _name(runs: Sequence[FinishedRun], above: str) -> str:
    """Returns the path of runs below the common folder: of their own folder, or of each run."""
    places = _places(runs, above)
    parents = {os.path.dirname(place) for place in places}
    shared = parents.pop() if len(places) > 1 and len(parents) == 1 else ""
    return shared or ", ".join(places)


def _places(runs: Sequence[FinishedRun], above: str) -> list[str]:
    return [os.path.relpath(run.workdir.resolve(), above) for run in runs]


def changed(rows: Sequence[TableRow]) -> list[list[str]]:
    """Returns a table of the settings that differ: a header, then a row for each key.

    The number of classes comes first, since fewer are easier to tell apart. The seed is left out
    where the runs of a row differ in it.
    """
    settings = {row.setting: row.runs[0].settings for row in rows}
    many = any(len(row.runs) > 1 for row in rows)
    table = [["key", *settings]]
    classes = {row.setting: row.runs[0].result["num_classes"] for row in rows}
    if len(set(classes.values())) > 1:
        table.append(["classes", *map(str, classes.values())])
    for key in next(iter(settings.values())):
        values = [own[key] for own in settings.values()]
        if any(value != values[0] for value in values) and not (many and key == "seed"):
            table.append([key, *map(str, values)])
    return table
