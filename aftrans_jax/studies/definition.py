"""What a study is: named rows of changes to a base configuration. Files in configs/studies/."""

import re
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from aftrans_jax.experiment.heads import HEADS

# What a row that evaluates another one changes.
ANNOTATED_BOXES: Mapping[str, Any] = MappingProxyType({"region.method": "annotated"})
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """One setting of a study.

    Attributes:
      changes: by key, such as "sacm.keep_ratio", the value or a function of the base's value.
      heads: logits that the row is judged by, a line of the table each; none: the run's
        `eval.logits`.
      paper: accuracy in percent that the paper reports, by name of the logits, or for all of them.
      evaluates: name of a row above, whose runs are evaluated by the annotated boxes in the place
        of a training; none: the row is trained.
    """

    changes: Mapping[str, Any] = _NOTHING
    heads: tuple[str, ...] = ()
    paper: float | Mapping[str, float] | None = None
    evaluates: str = ""


class Study(NamedTuple):
    """Rows to be run with the same data and seeds, the most telling first.

    Attributes:
      title: of the table.
      rows: by name.
      base: name of the row that the others are compared with, by the first of its heads.
      num_seeds: of each row, if the command line names no other number.
    """

    title: str
    rows: Mapping[str, Row]
    base: str
    num_seeds: int = 3

    def changes(self, name: str) -> dict[str, Any]:
        """Returns the changes of a row, those of the row that it evaluates included."""
        row = self.rows[name]
        return {**(self.changes(row.evaluates) if row.evaluates else {}), **row.changes}


def load_study(path: Path) -> Study:
    """Returns the study that a file describes.

    Args:
      path: of a Python file with `get_study()`, which returns a `Study`.

    Raises:
      ValueError: it has no such function, or the study contradicts itself.
    """
    get_study: Callable[[], Any] | None = runpy.run_path(str(path)).get("get_study")
    study = get_study() if get_study else None
    if not isinstance(study, Study):
        raise ValueError(
            f"{path} describes no study: expected a function get_study() that returns an "
            "aftrans_jax.studies.definition.Study, as in configs/studies/table6.py"
        )
    if study.base not in study.rows:
        raise ValueError(
            f"{path}: base={study.base!r} is no row: choose one of {', '.join(study.rows)}"
        )
    if study.num_seeds < 1:
        raise ValueError(f"{path}: num_seeds={study.num_seeds}: expected 1 or more")
    slugs: dict[str, str] = {}
    for name, row in study.rows.items():
        if not slug(name) or slug(name) in slugs:
            other = f"is that of {slugs[slug(name)]!r}" if slug(name) else "is empty"
            raise ValueError(f"{path}: the folder of row {name!r} {other}: rename the row")
        slugs[slug(name)] = name
        if unknown := set(row.heads) - set(HEADS):
            raise ValueError(
                f"{path}: row {name!r} has heads={sorted(unknown)}: choose of {', '.join(HEADS)}"
            )
        _check_evaluates(path, study, name)
    return study


def _check_evaluates(path: Path, study: Study, name: str) -> None:
    row, names = study.rows[name], list(study.rows)
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
