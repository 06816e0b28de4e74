"""Splitting one split in two: the same share of every class, drawn by a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aftrans_jax.data.examples import Dataset, Example, Source


@dataclass(frozen=True)
class Subset:
    """Some examples of a source, in the order of `indices`; images are not copied."""

    source: Source
    indices: tuple[int, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(self.source.names[index] for index in self.indices)

    @cached_property
    def labels(self) -> tuple[int, ...]:
        return tuple(self.source.labels[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[self.indices[index]]


def stratified_split(
    labels: Sequence[int], fraction: float, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the positions that stay and those that are held out, both ascending.

    Of each class `fraction` is held out, rounded, but at least one example stays; of two or more,
    at least one is held out. Which ones depends on the seed, the label and the examples of that
    class, not on other classes.

    Args:
      labels: class of each example.
      fraction: share to hold out, in (0, 1).
      seed: at least 0.

    Raises:
      ValueError: the fraction is out of range, or no class has an example to spare.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction {fraction}: expected one between 0 and 1. Correct it.")
    classes, held = np.asarray(labels), []
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        number = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held.append(np.random.default_rng((seed, int(label))).permutation(members)[:number])
    out = np.sort(np.concatenate(held))
    if not len(out):
        raise ValueError(
            f"no class has two examples, so fraction {fraction} holds out none: expected classes "
            "of at least two images. Add images, or hold out nothing."
        )
    stay = np.setdiff1d(np.arange(len(classes)), out)
    return tuple(stay.tolist()), tuple(out.tolist())


def hold_out(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Returns the data set with a share of its training split as validation split.

    Checkpoints are chosen on the validation split; the test split stays as it is.

    Raises:
      ValueError: see `stratified_split`.
    """
    stay, out = stratified_split(dataset.train.labels, fraction, seed)
    train, validation = Subset(dataset.train, stay), Subset(dataset.train, out)
    return dataset._replace(train=train, validation=validation)
