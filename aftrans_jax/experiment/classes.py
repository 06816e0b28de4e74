"""Matches a labelled set to a trained model: classes by name, without the training's images."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from aftrans_jax.data.examples import Dataset, Source
from aftrans_jax.data.names import composed
from aftrans_jax.data.sets.photos import PhotoTable
from aftrans_jax.data.sets.subsets import Relabelled, Subset
from aftrans_jax.wording import printable


class Evaluated(NamedTuple):
    """Facts about the training for an evaluation.

    Attributes:
      classes: names of the model's classes, in the order of its head.
      is_own: whether the set is the one that was trained on, whose splits stay as they were.
      used: for another set, the file of each image that was trained on, or chose checkpoints, by
        its path in the training's set. Images of the same content are not scored.
    """

    classes: Sequence[str]
    is_own: bool = True
    used: Mapping[str, Path] = MappingProxyType({})


def match_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Returns the set with the labels of a trained model; it may lack some of its classes.

    Args:
      dataset: data set with labels and class names of its own.
      classes: names of the model's classes, in the order of its head.

    Raises:
      ValueError: the set has a class that the model does not know.
    """
    if tuple(classes) == dataset.class_names:
        return dataset
    number = {composed(name): label for label, name in enumerate(classes)}
    unknown = [name for name in dataset.class_names if composed(name) not in number]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of the {len(dataset.class_names)} classes of {dataset.name} were not "
            f"trained, such as {', '.join(map(repr, unknown[:3]))}: expected names among "
            f"{', '.join(map(repr, list(classes)[:3]))} ... (classes.json). Rename them, or leave "
            "them out"
        )
    new = tuple(number[composed(name)] for name in dataset.class_names)
    splits = {name: Relabelled(source, new) for name, source in dataset.splits().items()}
    return dataset._replace(class_names=tuple(classes), **splits)


def leave_out_used(
    test: Source, table: PhotoTable, used: Mapping[str, Path]
) -> tuple[Source | Subset, list[str]]:
    """Returns the images of a test split that the training did not see, and notes on the others.

    An image was seen where a used file has the same content, wherever either is. Used files that
    cannot be read any more are compared by their path, with a note.

    Args:
      test: images to be scored.
      table: table of the same images.
      used: see `Evaluated`.

    Raises:
      ValueError: the training has seen all of them.
    """
    seen, gone = _seen(table, used)
    notes = _gone_notes(gone, len(used))
    if not seen:
        return test, notes
    first = repr(printable(table.names[min(seen)]))
    if len(seen) == len(test):
        raise ValueError(
            f"all {len(test)} images to test in {table.root} were trained on, such as {first}: "
            "expected others. Without --config.data.dir the run's own test split is scored"
        )
    kept = tuple(index for index in range(len(test)) if index not in seen)
    return Subset(test, kept), [
        *notes,
        f"{len(seen)} of the {len(test)} images to test were trained on, such as {first}: they are "
        f"left out, {len(kept)} are scored",
    ]


def _seen(table: PhotoTable, used: Mapping[str, Path]) -> tuple[set[int], set[str]]:
    """Returns the positions of images that were seen, and the used images that were not found."""
    paths = [table.path(index) for index in range(len(table))]
    sizes = [_size(path) for path in paths]
    tested = set(sizes) - {0}
    contents = {}
    gone = set()
    for name, path in used.items():
        try:
            size = path.stat().st_size
            if size in tested:  # so few files are read, since most sizes occur once
                contents.setdefault(size, set()).add(_digest(path))
        except OSError:
            gone.add(composed(name))
    rows = enumerate(zip(table.names, paths, sizes, strict=True))
    return {
        index
        for index, (name, path, size) in rows
        if composed(name) in gone or (size in contents and _digest(path) in contents[size])
    }, gone


def _gone_notes(gone: set[str], num_used: int) -> list[str]:
    if not gone:
        return []
    return [
        f"{len(gone)} of the {num_used} images that the training used cannot be read any more, "
        f"such as {printable(min(gone))!r}: they are known by path alone, so copies of them under "
        "other paths are scored"
    ]


def _size(path: Path) -> int:
    """Returns the bytes of a file, 0 if it cannot be read: the error comes when it is opened."""
    return path.stat().st_size if os.access(path, os.R_OK) else 0


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
