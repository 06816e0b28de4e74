"""The definition of a study: named rows of changes to a base configuration."""

import math
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from aftrans_jax.config_files import failures_named
from aftrans_jax.model.heads import HEADS

# The changes of a row that evaluates another one.
ANNOTATED_BOXES: Mapping[str, Any] = MappingProxyType({"region.method": "annotated"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """One setting of a study.

    Attributes:
      changes: new values by key, such as "sacm.keep_ratio", or functions of the base's values.
      heads: logits that the row is judged by, with one row of the table each; none: the run's
        `eval.logits`.
      paper: accuracy in percent that the paper reports, by name of the logits, or for all of them.
      evaluates: name of a row above, whose runs are evaluated with annotated boxes as crops instead
        of a training; none: the row is trained.
    """

    changes: Mapping[str, Any] = _NOTHING
    heads: tuple[str, ...] = ()
    paper: float | Mapping[str, float] | None = None
    evaluates: str = ""


class Study(NamedTuple):
    """Rows to run with the same data and seeds, the most informative first.

    Attributes:
      title: title of the table.
      rows: rows by name.
      base: name of the row that the others are compared with, by the first of its heads.
      num_seeds: number of seeds per row, unless the command line sets it.
    """

    title: str
    rows: Mapping[str, Row]
    base: str
    num_seeds: int = 3

    def changes(self, name: str) -> dict[str, Any]:
        """Returns the changes of a row, including those of the row that it evaluates."""
        row = self.rows[name]
        return {**(self.changes(row.evaluates) if row.evaluates else {}), **row.changes}


def load_study(path: Path) -> Study:
    """Returns the study that a file defines.

    Args:
      path: path of a Python file with `get_study()`, which returns a `Study`.

    Raises:
      ValueError: it has no such function, or fails, or the study contradicts itself.
    """
    study = _described(path)
    rows = study.rows
    num_seeds = study.num_seeds
    if not isinstance(rows, Mapping) or not all(map(_is_named_row, rows.items())):
        raise ValueError(f"{path}: rows={rows!r:.200}: expected {{'name': Row(...), ...}}")
    if study.base not in rows:
        raise ValueError(f"{path}: base={study.base!r} is no row: choose one of {', '.join(rows)}")
    if type(num_seeds) is not int or num_seeds < 1:
        raise ValueError(f"{path}: num_seeds={num_seeds!r}: expected a whole number, 1 or more")
    slugs: dict[str, str] = {}
    for name, row in rows.items():
        if not slug(name) or slug(name) in slugs:
            other = f"is that of {slugs[slug(name)]!r}" if slug(name) else "is empty"
            raise ValueError(f"{path}: the folder of row {name!r} {other}: rename the row")
        slugs[slug(name)] = name
        _check_row(f"{path}: row {name!r}", row)
        _check_evaluates(path, study, name)
    return study


def _described(path: Path) -> Study:
    """Returns the study that a file defines, unchecked."""
    with failures_named(path, "a study in Python, as configs/studies/table6.py"):
        get_study = runpy.run_path(str(path)).get("get_study")
        study = get_study() if callable(get_study) else None
    if not isinstance(study, Study):
        raise ValueError(
            f"{path} describes no study: expected a function get_study() that returns an "
            "aftrans_jax.studies.definition.Study, as in configs/studies/table6.py"
        )
    return study


def _check_row(where: str, row: Row) -> None:
    if not isinstance(row.changes, Mapping):
        raise ValueError(f"{where} has changes={row.changes!r}: expected {{'key': value, ...}}")
    if "seed" in row.changes:
        raise ValueError(f"{where} changes the seed: a study takes seeds from 0 up; leave it out")
    if not isinstance(row.heads, tuple) or set(row.heads) - set(HEADS):
        raise ValueError(
            f"{where} has heads={row.heads!r}: expected a tuple such as ('local',), of "
            f"{', '.join(HEADS)}"
        )
    figures = row.paper if isinstance(row.paper, Mapping) else {HEADS[0]: row.paper}
    if set(figures) - set(HEADS) or not all(map(_is_figure, figures.values())):
        raise ValueError(
            f"{where} has paper={row.paper!r}: expected an accuracy in percent, or one by each "
            f"name of {', '.join(HEADS)}"
        )


def _is_named_row(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Row)


def _is_figure(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))


def _check_evaluates(path: Path, study: Study, name: str) -> None:
    row = study.rows[name]
    names = list(study.rows)
    if not row.evaluates:
        return
    above = [x for x in names[: names.index(name)] if not study.rows[x].evaluates]
    if row.evaluates not in above:
        raise ValueError(
            f"{path}: row {name!r} evaluates {row.evaluates!r}: expected a row above that is "
            f"trained, of {', '.join(above)}"
        )
    if row.changes != ANNOTATED_BOXES:
        raise ValueError(
            f"{path}: row {name!r} evaluates another with changes={dict(row.changes)}: expected "
            f"{dict(ANNOTATED_BOXES)}, the one change of a trained run's own test split"
        )


def slug(name: str) -> str:
    """Returns the name of a row's folder, such as "keep-0.2" for "keep 0.2"."""
    return re.sub(r"[^a-z0-9._+]+", "-", name.lower()).strip("-.")
