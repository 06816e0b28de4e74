"""predictions.csv: the predictions of a trained model's logits for each test image, and boxes."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aftrans_jax.data.examples import Dataset
from aftrans_jax.files import csv_text, write_bytes
from aftrans_jax.json_files import DamagedRecordError
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers

_FIRST = ["name", "true"]
_BOX = ["top", "left", "bottom", "right"]


class Predictions(NamedTuple):
    """The test images of a run, each once, in the order of its split.

    Attributes:
      names: names of the images.
      true: class of each image.
      predicted: predicted class of each image, by name of the logits.
      confidence: probability of the predicted class, by name of the logits.
      boxes: (top, left, bottom, right) of each region, in pixels of the images given to the model;
        None where the model has no regions, or the file does not have them.
    """

    names: tuple[str, ...]
    true: tuple[str, ...]
    predicted: Mapping[str, tuple[str, ...]]
    confidence: Mapping[str, Float[np.ndarray, " images"]]
    boxes: Int[np.ndarray, "images 4"] | None = None

    def correct(self, logits: str) -> Bool[np.ndarray, " images"]:
        """Returns whether these logits classify each image correctly."""
        return np.array(self.predicted[logits]) == np.array(self.true)


def write_predictions(path: Path, dataset: Dataset, outcomes: Mapping[str, Any]) -> None:
    """Writes a row for each test image: its name, class, predictions, and box.

    Args:
      path: path of the CSV file; bytes of names that are not UTF-8 are kept.
      dataset: data set whose test split was evaluated.
      outcomes: see `training.evaluation.Evaluation`.
    """
    classes = dataset.class_names
    names = dataset.test.names
    heads = sorted(outcomes["predicted"])
    boxes = outcomes.get("box")
    rows: list[list[Any]] = [_header(heads)]
    for row, (index, label) in enumerate(zip(outcomes["index"], outcomes["label"], strict=True)):
        cells: list[Any] = []
        for head in heads:
            cells.append(classes[int(outcomes["predicted"][head][row])])
            cells.append(round(float(outcomes["confidence"][head][row]), 4))
        box = [""] * 4 if boxes is None else [int(edge) for edge in boxes[row]]
        rows.append([names[int(index)], classes[int(label)], *cells, *box])
    write_bytes(path, csv_text(rows).encode("utf-8", "surrogateescape"))


def read_predictions(path: Path) -> Predictions:
    """Returns the predictions that `write_predictions` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      DamagedRecordError: it holds something else, or several of its images have the same name.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        if header[-4:] != _BOX:  # a file of November 2026, without boxes
            header = header + _BOX
            rows = [[*row, "", "", "", ""] for row in rows]
        heads = header[2:-4:2]
        if header != _header(heads):
            raise ValueError(f"its columns are {header}")
        if {len(row) for row in rows} - {len(header)}:
            raise ValueError("its rows are not equally long")
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        confidence = {head: np.array(columns[f"{head}_confidence"], np.float64) for head in heads}
        edges = np.array([columns[name] for name in _BOX]).T
        boxes = edges.astype(np.int64) if (edges != "").any() else None
    except (ValueError, csv.Error) as error:
        raise DamagedRecordError(
            f"{path} is damaged ({error}): expected the predictions of a run. {_remedy(path)}"
        ) from error
    repeated = [name for name, times in Counter(columns["name"]).items() if times > 1]
    if repeated:
        raise DamagedRecordError(
            f"{path} has several images of one name, such as {repeated[0]!r}: expected names that "
            f"tell images apart. {_remedy(path)}"
        )
    predicted = {head: columns[head] for head in heads}
    return Predictions(columns["name"], columns["true"], predicted, confidence, boxes)


def _remedy(path: Path) -> str:
    command = f"python -m aftrans_jax.main --workdir={path.parent}"
    if not checkpoint_numbers(path.parent / "checkpoints"):
        return "Bring it back from a copy: the checkpoints to make it of are gone"
    if path.name == "predictions.csv":
        return f"Move result.json away and run {command}, which evaluates the run again"
    return f"Run {command} --mode=eval again, with what was given then"


def _header(heads: Sequence[str]) -> list[str]:
    return [*_FIRST, *(f"{head}{end}" for head in heads for end in ("", "_confidence")), *_BOX]
