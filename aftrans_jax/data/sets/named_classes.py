"""Photos with names of classes, and optionally of splits: those of folders and of CSV files."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.data.names import composed
from aftrans_jax.data.sets.annotations import Annotations, Record, annotations
from aftrans_jax.data.sets.holdout import drawn_split
from aftrans_jax.wording import counted, printable, summary

SPLIT_NAMES = {  # name of a split in lower case -> the split
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}


class NamedPhoto(NamedTuple):
    """One image: its path, its class name, and the name of its split, "" where none is given."""

    path: str
    class_name: str
    split: str


def from_names(
    name: str,
    root: Path,
    photos: Collection[NamedPhoto],
    *,
    source: Path,
    remedy: str,
    test_fraction: float,
    seed: int,
    evaluates: bool,
) -> Annotations:
    """Returns the splits, with classes numbered in the order of their names.

    Names that differ only in their Unicode form are the same. The order is by code point, or by
    value where all names are whole numbers. A class may lack test images. Folders and CSV files are
    both read by this function, so the same photos get the same labels and splits.

    Args:
      name: name of the kind of data set.
      root: folder of the images.
      photos: photos of all splits; either all name their split, or none does.
      source: file or folder that lists the photos, for error messages.
      remedy: sentence that ends each error message.
      test_fraction: fraction of each class to hold out where there are no splits, in (0, 1); 1, for
        an evaluation, tests all.
      seed: seed for the choice of held-out images, at least 0.
      evaluates: whether it is for a trained model; then one class is enough, and there may be no
        training images.

    Raises:
      ValueError: there are fewer than two classes, a class has no training images, or the splits
        are not one for training, one for testing and perhaps one for validation; or see
        `drawn_split`.
    """
    photos = [photo._replace(class_name=composed(photo.class_name)) for photo in photos]
    class_names = _class_names(photos, source, remedy, evaluates)
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    splits, notes = _splits_of(photos, source, remedy, test_fraction, seed, evaluates)
    labels = [label_of[photo.class_name] for photo in photos]
    records = [
        Record(photo.path, label, split)
        for photo, label, split in zip(photos, labels, splits, strict=True)
    ]
    return annotations(
        name,
        root,
        records,
        class_names,
        official=None,
        source=source,
        remedy=remedy,
        notes=notes,
        needs_training=not evaluates,
    )


def _class_names(
    photos: Sequence[NamedPhoto], source: Path, remedy: str, evaluates: bool
) -> list[str]:
    """Returns the names of the classes in their order; raises ValueError for too few."""
    class_names = in_order({photo.class_name for photo in photos})
    if len(class_names) < (1 if evaluates else 2):
        expected = "images in the folders of their classes" if evaluates else "two classes or more"
        raise ValueError(
            f"{source} has {counted(len(photos), 'image')} of "
            f"{counted(len(class_names), 'class')} {class_names}: expected {expected}. {remedy}"
        )
    return class_names


def _splits_of(
    photos: Sequence[NamedPhoto],
    source: Path,
    remedy: str,
    test_fraction: float,
    seed: int,
    evaluates: bool,
) -> tuple[list[str], list[str]]:
    """Returns the split of each image, named or drawn, and notes."""
    if any(photo.split for photo in photos):
        splits, notes = _named_splits(photos, source, remedy, evaluates=evaluates)
        return splits, notes if evaluates else [*notes, *_untested(photos, splits)]
    if evaluates and test_fraction == 1:
        note = f"{printable(str(source))} has no splits: all of its images are for testing"
        return ["test"] * len(photos), [note]
    splits = _drawn_splits(photos, test_fraction, seed)
    return splits, [] if evaluates else _untested(photos, splits)


def _drawn_splits(photos: Sequence[NamedPhoto], test_fraction: float, seed: int) -> list[str]:
    """Returns a drawn split for each image, where no photo names its own."""
    names = [photo.class_name for photo in photos]
    paths = [photo.path for photo in photos]
    out = set(drawn_split(names, paths, test_fraction, seed, purpose="test")[1])
    return ["test" if index in out else "train" for index in range(len(photos))]


def _untested(photos: Sequence[NamedPhoto], splits: Sequence[str]) -> list[str]:
    """Returns a note on the classes without test images, none where all have some."""
    pairs = zip(photos, splits, strict=True)
    tested = {photo.class_name for photo, split in pairs if split == "test"}
    names = in_order({photo.class_name for photo in photos} - tested)
    return [summary("classes without a test image", names)] if names else []


def in_order(class_names: Collection[str]) -> list[str]:
    """Returns names of classes by code point, or by value where all are whole numbers."""
    numbers = all(re.fullmatch("[0-9]{1,18}", class_name) for class_name in class_names)
    return sorted(class_names, key=lambda text: (int(text) if numbers else 0, text))


def _named_splits(
    photos: Sequence[NamedPhoto], source: Path, remedy: str, *, evaluates: bool
) -> tuple[list[str], list[str]]:
    """Returns the split of each image, as named by the photos, and notes."""
    names = sorted({photo.split.lower() for photo in photos})
    notes = []
    split_of = {name: SPLIT_NAMES[name] for name in names}
    splits = sorted(split_of.values())
    if splits == ["train", "validation"] or (evaluates and splits == ["validation"]):
        (name,) = (name for name, split in split_of.items() if split == "validation")
        split_of[name] = "test"
        notes.append(f"{printable(str(source))} has no test split: {name} is the test split")
    allowed = [["test", "train"], ["test", "train", "validation"]]
    if evaluates:
        allowed += [["test"], ["test", "validation"]]
    if sorted(split_of.values()) not in allowed:
        expected = (
            "one for testing, such as test"
            if evaluates
            else (
                "one for training and one for testing, such as train and test, and perhaps one for "
                "validation, such as val"
            )
        )
        raise ValueError(f"{source} has the splits {names}: expected {expected}. {remedy}")
    splits = [split_of[photo.split.lower()] for photo in photos]
    if evaluates:
        return splits, notes
    pairs = zip(photos, splits, strict=True)
    trained = {photo.class_name for photo, split in pairs if split == "train"}
    lacking = sorted({photo.class_name for photo in photos} - trained)
    if lacking:
        raise ValueError(
            f"{source} has {counted(len(lacking), 'class')} without training images, the first: "
            f"{lacking[0]!r}: expected training images of every class. {remedy}"
        )
    return splits, notes
