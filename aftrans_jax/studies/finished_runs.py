"""Finished runs, read and grouped into rows of a table; two rows paired on the same images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from aftrans_jax.experiment.model import predicting_head
from aftrans_jax.model.heads import HEADS
from aftrans_jax.run.evaluation import annotated_scores
from aftrans_jax.settings import configured, flat
from aftrans_jax.studies.definition import ANNOTATED_BOXES
from aftrans_jax.workdir.predictions_csv import Predictions, read_predictions
from aftrans_jax.workdir.record import completed, read_result, written_settings


class FinishedRun(NamedTuple):
    """A finished run: its directory, settings by key, scores and predictions."""

    workdir: Path
    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    predictions: Predictions

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.settings["seed"]


class TableRow(NamedTuple):
    """A row of a table: one setting, with one run per seed, judged by one kind of logits.

    Attributes:
      setting: name of the setting: of a study's row, or of the runs' folders.
      head: "global", "local" or "sum".
      runs: runs in the order of their seeds, at least one.
      paper: the paper's accuracy in percent, None where it has none.
    """

    setting: str
    head: str
    runs: Sequence[FinishedRun]
    paper: float | None = None

    @property
    def name(self) -> str:
        """The names of the setting and the logits."""
        return f"{self.setting} ({self.head})"

    def accuracies(
        self, head: str, *, validation: bool = False
    ) -> Float[np.ndarray, " seeds"] | None:
        """Returns the accuracies in percent by seed; None where the model has no such logits."""
        results = [run.result for run in self.runs]
        if validation:
            results = [result.get("validation") or {} for result in results]
        values = [result.get(f"{head}_accuracy") for result in results]
        return None if None in values else 100 * np.array(values, np.float64)

    def mean(self, key: str) -> float | None:
        """Returns the mean of a figure in result.json, over the runs that have it."""
        values = [run.result.get(key) for run in self.runs]
        numbers = [value for value in values if isinstance(value, int | float)]
        return float(np.mean(numbers)) if numbers else None


class Pairing(NamedTuple):
    """Two settings on the same images: which images each classifies correctly, by seed.

    Attributes:
      names: names of the images, in the order of their split.
      ours: whether each image is classified correctly, by seed.
      base: the same for the setting to compare with.
      most: number of seeds and of images, each of the row that has more.
    """

    names: Sequence[str]
    ours: Bool[np.ndarray, "seeds images"]
    base: Bool[np.ndarray, "seeds images"]
    most: tuple[int, int]

    @property
    def part(self) -> str:
        """The seeds or images that are paired, such as "of 1 seed"; empty where all are."""
        counts = zip(("seed", "image"), self.ours.shape, self.most, strict=True)
        fewer = [f"{n} {name}{'s' * (n > 1)}" for name, n, most in counts if n < most]
        return f"of {' and '.join(fewer)}" if fewer else ""


def read_finished_run(workdir: Path) -> FinishedRun:
    """Returns the finished run of a directory.

    Raises:
      FileNotFoundError: no finished run is there, or it has left no predictions.
      NotADirectoryError: it is a file.
      DamagedRecordError: its files cannot be read.
      ValueError: it has settings that this version does not know.
    """
    if workdir.is_file():
        raise NotADirectoryError(
            f"{workdir} is a file: expected the directory of a finished run, which has the answers "
            "to its test images"
        )
    result = read_result(workdir)
    if result is None and not (workdir / "config.json").exists():
        raise FileNotFoundError(f"{workdir} holds no run: expected the directory of a finished one")
    if result is None:
        raise FileNotFoundError(
            f"{workdir} holds no finished run: expected a sound result.json, which training writes "
            f"last. Finish it: python -m aftrans_jax.main --workdir={workdir}"
        )
    try:
        predictions = read_predictions(workdir / "predictions.csv")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error.filename} is absent: the run is of an earlier version. Move result.json away "
            f"and run python -m aftrans_jax.main --workdir={workdir}, which evaluates it again"
        ) from error
    return FinishedRun(workdir, _settings(workdir, result), result, predictions)


def read_annotated_run(workdir: Path) -> FinishedRun:
    """Returns the finished run of a directory with its scores on annotated boxes as crops.

    Raises:
      FileNotFoundError: it was not evaluated in this way.
      DamagedRecordError: its files cannot be read.
      ValueError: it has settings that this version does not know.
    """
    scores = annotated_scores(workdir)
    if scores is None:
        raise FileNotFoundError(
            f"{workdir} holds no finished run that was evaluated by the annotated boxes: "
            f"python -m aftrans_jax.main --mode=eval --workdir={workdir} "
            "--config.region.method=annotated"
        )
    result, predictions = scores
    settings = {**_settings(workdir, result), **ANNOTATED_BOXES}
    return FinishedRun(workdir, settings, result, read_predictions(predictions))


def _settings(workdir: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that scores were made with; "auto" in `eval.logits` is resolved.

    The folder of the photos comes from config.json, which may be of a longer training begun since.
    """
    settings = completed(flat(result["config"]), workdir)
    place = written_settings(workdir).get("data.dir", settings["data.dir"])
    logits = predicting_head(configured(settings))
    return settings | {"data.dir": place, "eval.logits": logits}


def judged_by(run: FinishedRun, heads: Sequence[str]) -> list[str]:
    """Returns the logits that a run is judged by: those given, or else its `eval.logits`.

    Raises:
      ValueError: the model has no such logits.
    """
    chosen = list(heads) or [run.settings["eval.logits"]]
    absent = [head for head in chosen if head not in run.predictions.predicted]
    if absent:
        raise ValueError(
            f"{run.workdir} has no {absent[0]} logits: choose of "
            f"{', '.join(head for head in HEADS if head in run.predictions.predicted)}"
        )
    return chosen


def table_rows(
    name: str,
    heads: Sequence[str],
    runs: Sequence[FinishedRun],
    paper: float | Mapping[str, float] | None = None,
) -> list[TableRow]:
    """Returns the table's rows of a study's row: one for each of the logits that it is judged by.

    Args:
      name: name of the study's row.
      heads: logits that it is judged by.
      runs: its finished runs, at least one.
      paper: see `Row`.

    Raises:
      ValueError: the model has no such logits.
    """
    papers = paper if isinstance(paper, Mapping) else dict.fromkeys(heads, paper)
    return [TableRow(name, head, runs, papers.get(head)) for head in judged_by(runs[0], heads)]


def paired(row: TableRow, base: TableRow) -> Pairing:
    """Returns both settings on the images that all of their runs tested.

    Runs of equal seeds are paired; where no seeds are equal, in their order.

    Raises:
      ValueError: they have no image in common.
    """
    by_seed = {run.seed: run for run in base.runs}
    pairs = [(run, by_seed[run.seed]) for run in row.runs if run.seed in by_seed]
    pairs = pairs or list(zip(row.runs, base.runs, strict=False))
    predictions = [run.predictions for pair in pairs for run in pair]
    shared = set(predictions[0].names).intersection(*(other.names for other in predictions))
    if not shared:
        raise ValueError(
            f"{pairs[0][0].workdir} and {pairs[0][1].workdir} have no test image in common: "
            "compare runs of the same data set"
        )
    names = [name for name in predictions[0].names if name in shared]

    def correct(run: FinishedRun, head: str) -> Bool[np.ndarray, " images"]:
        by_name = dict(zip(run.predictions.names, run.predictions.correct(head), strict=True))
        return np.array([by_name[name] for name in names])

    return Pairing(
        names,
        np.stack([correct(run, row.head) for run, _ in pairs]),
        np.stack([correct(run, base.head) for _, run in pairs]),
        (
            max(len(row.runs), len(base.runs)),
            max(len(run.predictions.names) for run in (*row.runs, *base.runs)),
        ),
    )
