"""Chooses the test images in a report, by the predictions alone, so always the same ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from aftrans_jax.report.statistics import Pair, SplitPredictions, agreement, confused

MAX_EACH = 100  # classes up to which each has an image


class PairExample(NamedTuple):
    """A confused pair with a mistake, and a correctly classified image of each class, if any."""

    pair: Pair
    mistake: int
    true: int | None
    predicted: int | None


class Chosen(NamedTuple):
    """Test images to show, as rows of the predictions.

    Attributes:
      mistakes: the most confident wrong predictions, most confident first.
      classes: images of every class; where there are more than fit, of those that the others lack.
        They are in the order of the classes.
      pairs: the most frequently confused classes.
      only: images that only one of two heads classifies correctly, by that head.
    """

    mistakes: Sequence[int]
    classes: Sequence[int]
    pairs: Sequence[PairExample]
    only: dict[str, Sequence[int]]

    def rows(self) -> list[int]:
        """Returns every row once, ascending."""
        examples = [row for pair in self.pairs for row in pair[1:] if row is not None]
        heads = [row for rows in self.only.values() for row in rows]
        return sorted({*self.mistakes, *self.classes, *examples, *heads})


def choose(predictions: SplitPredictions, num_shown: int) -> Chosen:
    """Returns the images to show.

    A third of them are the worst mistakes; the others show every class. Up to half as many more
    illustrate confused pairs and where two heads disagree. Where there are more classes than fit,
    those that are in none of these images come first: all of them among up to `MAX_EACH` classes,
    even if they do not fit, and evenly spaced ones among more. Ties are in the split's order.

    Args:
      predictions: predictions on the full split.
      num_shown: number of mistakes and classes' images together; 0 for no images at all.
    """
    labels = predictions.labels
    predicted = predictions.predicted[predictions.reported]
    sure = np.nan_to_num(predictions.confidence[predictions.reported].astype(np.float64))
    correct = predictions.correct()
    wrong = np.flatnonzero(~correct)
    mistakes = wrong[np.argsort(-sure[wrong], kind="stable")][: num_shown // 3]
    pairs = []
    for pair in confused(predictions)[: num_shown // 9]:
        own = (labels == pair.true) & (predicted == pair.predicted)
        typical = [_surest(np.flatnonzero(correct & (labels == x)), sure) for x in pair[:2]]
        pairs.append(PairExample(pair, int(_first(np.flatnonzero(own), sure)), *typical))
    only: dict[str, Sequence[int]] = {}
    if {"global", "local"} <= predictions.predicted.keys():
        groups = agreement(predictions, "global", "local")
        for head, rows in (("local", groups[False, True]), ("global", groups[True, False])):
            surest = np.argsort(-predictions.confidence[head][rows], kind="stable")
            only[head] = rows[surest][: num_shown // 12].tolist()
    chosen = Chosen(mistakes.tolist(), [], pairs, only)
    if not num_shown:
        return chosen
    there = np.unique(labels[chosen.rows()])
    rows = _of_each_class(labels, sure, num_shown - len(mistakes), there)
    return chosen._replace(classes=rows)


def _of_each_class(
    labels: Int[np.ndarray, " images"],
    sure: np.ndarray,
    room: int,
    there: Int[np.ndarray, " classes"],
) -> list[int]:
    """Returns as many images of each class as there is room for, ascending by confidence.

    They are the middles of equal slices, so that neither successes nor failures are favoured.

    Args:
      labels: class of each image.
      sure: confidence of each prediction.
      room: number of images.
      there: classes that other images show; where there are more than `room`, they come last.
    """
    present = np.unique(labels)
    if len(present) > room:
        lacking = np.setdiff1d(present, there)
        if len(present) > MAX_EACH:
            lacking = _spaced(lacking, min(room, len(lacking)))
        others = _spaced(np.intersect1d(present, there), max(0, room - len(lacking)))
        present = np.union1d(lacking, others)
    rows = []
    for label in present:
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(sure[own], kind="stable")]
        count = min(max(1, room // len(present)), len(own))
        rows += own[(2 * np.arange(count) + 1) * len(own) // (2 * count)].tolist()
    return rows


def _spaced(classes: Int[np.ndarray, " classes"], count: int) -> Int[np.ndarray, " count"]:
    return classes[np.linspace(0, len(classes) - 1, count).round().astype(int)]


def _first(rows: Int[np.ndarray, " rows"], sure: np.ndarray) -> int:
    return int(rows[np.argmax(sure[rows])])


def _surest(rows: Int[np.ndarray, " rows"], sure: np.ndarray) -> int | None:
    return _first(rows, sure) if len(rows) else None
