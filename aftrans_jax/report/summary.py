"""Statistics of all predictions for the page: accuracies, classes, confusion, calibration."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aftrans_jax.report.charts import reliability
from aftrans_jax.report.drawing import Plot
from aftrans_jax.report.plots import Measured, dots
from aftrans_jax.report.statistics import (
    Calibration,
    ClassScore,
    Share,
    SplitPredictions,
    agreement,
    by_class,
    by_head,
    calibration,
    confused,
    confusion,
    mean_per_class,
)

MAX_CLASSES = 200  # rows of the table, and side of the matrix
MAX_NAMED = 20  # classes of a matrix with names and numbers
MAX_PAIRS = 10
_SHADES = 8


class Baseline(NamedTuple):
    """A plain ViT of the same settings on the same test images.

    Attributes:
      name: name of its directory.
      accuracy: accuracy of its logits.
      only_here: number of images that only the run classifies correctly.
      only_there: number of images that only the plain ViT classifies correctly.
      command: command that compares both.
    """

    name: str
    accuracy: Share
    only_here: int
    only_there: int
    command: str


class ConfusionRow(NamedTuple):
    """A row of the confusion matrix: a class, and its images counted by predicted class."""

    name: str
    cells: Sequence[tuple[int, int]]  # the count, and its percentage of the row


class Shade(NamedTuple):
    """Cells of the confusion matrix with about the same fraction of their row, as an SVG path."""

    percent: int
    path: str


class PairRow(NamedTuple):
    """Two classes that are confused, by name."""

    true: str
    predicted: str
    times: int
    total: int


class Summary(NamedTuple):
    """Statistics of all predictions.

    Attributes:
      accuracy: accuracy of the reported head.
      heads: plot of each head's accuracy and the baseline's; None where nothing was tested.
      mean_per_class: see `statistics.mean_per_class`.
      agreement: whether the global and the local head are right, with the number of images and of
        those that the reported head classifies correctly; empty where there is one head.
      num_classes: number of classes that have test images.
      classes: scores of the classes, the least accurate first.
      classes_left_out: number of further classes.
      matrix: rows with names, where there are few classes.
      shades: shades of a matrix without names, where there are more.
      side: side of that matrix in cells, 0 where there are too many classes.
      pairs: the most frequently confused classes.
      pairs_left_out: number of further pairs.
      calibration: calibration of the reported head.
      reliability: its chart; None where no confidence is finite.
    """

    accuracy: Share
    heads: Plot | None
    mean_per_class: Mapping[str, float]
    agreement: Sequence[tuple[bool, bool, int, int]]
    num_classes: int
    classes: Sequence[ClassScore]
    classes_left_out: int
    matrix: Sequence[ConfusionRow]
    shades: Sequence[Shade]
    side: int
    pairs: Sequence[PairRow]
    pairs_left_out: int
    calibration: Calibration
    reliability: Plot | None


def summary(predictions: SplitPredictions, baseline: Baseline | None) -> Summary:
    """Returns statistics of all predictions."""
    heads = by_head(predictions)
    classes = by_class(predictions)
    pairs = confused(predictions)
    names = predictions.class_names
    count = len(predictions.class_names)
    bins = calibration(predictions)
    is_many = count > MAX_CLASSES
    counts = np.zeros((0, 0), np.int64) if is_many else confusion(predictions)
    reported = predictions.reported
    return Summary(
        accuracy=heads[reported],
        heads=_heads_plot(reported, heads, baseline) if len(predictions.labels) else None,
        mean_per_class=mean_per_class(predictions.labels, predictions.predicted),
        agreement=_agreement(predictions),
        num_classes=len(classes),
        classes=classes[:MAX_CLASSES],
        classes_left_out=max(0, len(classes) - MAX_CLASSES),
        matrix=_matrix(counts, names) if count <= MAX_NAMED else (),
        shades=_shaded(counts) if count > MAX_NAMED else (),
        side=0 if is_many else count,
        pairs=[PairRow(names[p.true], names[p.predicted], *p[2:]) for p in pairs[:MAX_PAIRS]],
        pairs_left_out=max(0, len(pairs) - MAX_PAIRS),
        calibration=bins,
        reliability=reliability("Accuracy by confidence, %", bins) if bins.counts.any() else None,
    )


def _heads_plot(reported: str, heads: dict[str, Share], baseline: Baseline | None) -> Plot:
    named = {f"{head}{' (reported)' if head == reported else ''}": x for head, x in heads.items()}
    if baseline is not None:
        named |= {"plain ViT": baseline.accuracy}
    values = [
        Measured(series, name, 100 * accuracy.value, 100 * accuracy.low, 100 * accuracy.high)
        for series, (name, accuracy) in enumerate(named.items())
    ]
    return dots("Accuracy, % of the test images, with 95 % intervals", "%", values)


def _agreement(predictions: SplitPredictions) -> list[tuple[bool, bool, int, int]]:
    if not {"global", "local"} <= predictions.predicted.keys():
        return []
    correct = predictions.correct()
    groups = agreement(predictions, "global", "local")
    return [(a, b, len(rows), int(correct[rows].sum())) for (a, b), rows in groups.items()]


def _shares(counts: np.ndarray) -> np.ndarray:
    return 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _matrix(counts: np.ndarray, names: Sequence[str]) -> list[ConfusionRow]:
    shares = _shares(counts).round().astype(int)
    return [
        ConfusionRow(name, list(zip(counts[label].tolist(), shares[label].tolist(), strict=True)))
        for label, name in enumerate(names)
    ]


def _shaded(counts: np.ndarray) -> list[Shade]:
    """Returns the cells that are not 0, in shades; a path for each shade keeps the page small."""
    levels = np.ceil(_shares(counts) * _SHADES / 100).astype(int)
    shades = []
    for level in range(1, _SHADES + 1):
        cells = "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(levels == level).tolist())
        if cells:
            shades.append(Shade(round(100 * level / _SHADES), cells))
    return shades
