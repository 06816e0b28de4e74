"""Finished runs side by side, as lines of a table, and the settings that differ."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from aftrans_jax.studies.trials import Line, Trial, judged_by, read_trial


def lines_between(workdirs: Sequence[Path], heads: Sequence[str]) -> list[Line]:
    """Returns the lines of runs; runs that differ only in their seeds share a line.

    With `heads` given, runs may differ in `eval.logits`, too.

    Args:
      workdirs: directories of finished runs, the base first.
      heads: logits to judge by, a line each where a run has them; none: each run's `eval.logits`.

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
    groups: dict[str, list[Trial]] = {}
    aside = dict.fromkeys(["seed", "eval.logits"] if heads else ["seed"])
    for workdir in places.values():
        trial = read_trial(workdir)
        alike = json.dumps({**trial.settings, **aside}, sort_keys=True)
        seeds = [other.seed for other in groups.get(alike, [])]
        groups.setdefault(f"{alike} {workdir}" if trial.seed in seeds else alike, []).append(trial)
    lines, above = [], os.path.commonpath([path.parent for path in places])
    for trials in groups.values():
        trials.sort(key=lambda trial: trial.seed)
    names = [_name(trials, above) for trials in groups.values()]
    for trials, name in zip(groups.values(), names, strict=True):
        if names.count(name) > 1:  # runs of several settings are in one folder
            name = ", ".join(_places(trials, above))
        known = [head for head in heads if head in trials[0].predictions.predicted]
        lines += [Line(name, head, trials) for head in judged_by(trials[0], known or heads)]
    return lines


def _name(trials: Sequence[Trial], above: str) -> str:
    """Returns the path of runs below the common folder: of their own folder, or of each run."""
    places = _places(trials, above)
    parents = {os.path.dirname(place) for place in places}
    shared = parents.pop() if len(places) > 1 and len(parents) == 1 else ""
    return shared or ", ".join(places)


def _places(trials: Sequence[Trial], above: str) -> list[str]:
    return [os.path.relpath(trial.workdir.resolve(), above) for trial in trials]


def changed(lines: Sequence[Line]) -> list[list[str]]:
    """Returns a table of the settings that differ: a header, then a row for each key.

    The number of classes comes first, since fewer are easier to tell apart. The seed is left out
    where the runs of a line differ in it.
    """
    rows = {line.row: line.trials[0].settings for line in lines}
    many = any(len(line.trials) > 1 for line in lines)
    table = [["key", *rows]]
    classes = {line.row: line.trials[0].result["num_classes"] for line in lines}
    if len(set(classes.values())) > 1:
        table.append(["classes", *map(str, classes.values())])
    for key in next(iter(rows.values())):
        values = [settings[key] for settings in rows.values()]
        if any(value != values[0] for value in values) and not (many and key == "seed"):
            table.append([key, *map(str, values)])
    return table
