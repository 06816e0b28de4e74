"""Writes table.md, table.csv and table.html."""

from collections.abc import Sequence
from pathlib import Path

from aftrans_jax.studies.definition import Study
from aftrans_jax.studies.plan import Run
from aftrans_jax.studies.tables import comma_separated, figures, lines_of, markdown
from aftrans_jax.studies.trials import Line, Trial, read_trial
from aftrans_jax.training.records import write_bytes


def write_study(study: Study, workdir: Path, finished: Sequence[Run], command: str) -> None:
    """Writes the table of the finished runs of a study.

    Args:
      study: with its rows.
      workdir: where the files go.
      finished: at least one run, in any order.
      command: that made them.

    Raises:
      OSError: they cannot be written.
      ValueError: the runs contradict each other or the study.
    """
    trials: dict[str, list[Trial]] = {name: [] for name in study.rows}
    for run in sorted(finished, key=lambda run: run.seed):
        trials[run.row].append(read_trial(run.workdir))
    lines = [
        line
        for name, row in study.rows.items()
        if trials[name]
        for line in lines_of(name, row, trials[name])
    ]
    base = next((line for line in lines if line.row == study.base), None)
    write_table(workdir, study.title, lines, base, command)


def write_table(
    workdir: Path, title: str, lines: Sequence[Line], base: Line | None, command: str
) -> None:
    """Writes the files of a table, each whole or not at all."""
    table = figures(lines, base)
    write_bytes(workdir / "table.md", _encoded(markdown(title, table, base, command)))
    write_bytes(workdir / "table.csv", _encoded(comma_separated(table)))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # a name may hold bytes that are no UTF-8
