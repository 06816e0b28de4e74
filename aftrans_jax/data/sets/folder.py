"""Folders of photos, one for each class, and `from_names`, by which CSV files are read as well.

Either `train/<class>/` beside `test/<class>/`, or `<class>/` alone, of which a share is held out.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.data.loading.formats import photo_suffixes
from aftrans_jax.data.loading.names import composed, printable
from aftrans_jax.data.sets.annotations import Annotations, Record, annotations
from aftrans_jax.data.sets.files import find_files, subfolders
from aftrans_jax.data.sets.holdout import drawn_split

SPLIT_NAMES = {  # name of a split in lower case -> the split
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}

_REMEDY = (
    "Arrange the images as train/<class>/ and test/<class>/, or as <class>/ alone, and set data.dir"
    " to the folder around them."
)


class NamedPhoto(NamedTuple):
    """One image: its path, the name of its class, and that of its split, "" where none is given."""

    path: str
    class_name: str
    split: str


def read_folder(
    directory: str | Path, *, test_fraction: float = 0.2, seed: int = 0, evaluates: bool = False
) -> Annotations:
    """Returns the photos in folders; a class is named after its folder, which may have subfolders.

    `val/` chooses checkpoints; where there is no `test/`, it is the test split. A single folder
    with the name of a split is a class, where it holds photos itself and has classes beside it.

    Args:
      directory: holds a folder for each split, named as in `SPLIT_NAMES`, or one for each class.
      test_fraction: share of each class to hold out where there are no splits, in (0, 1).
      seed: decides which images are held out, at least 0.
      evaluates: see `from_names`.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the folders are not arranged like that, or see `from_names`.
    """
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: expected one with images. {_REMEDY}")
    found = find_files(root)
    splits = _splits(root, found.photos)
    classes = {f"{split}/{name}" for split in splits for name in subfolders(root / split)}
    if not splits:
        classes = set(subfolders(root))
    depth = 2 if splits else 1
    class_of = {path: "/".join(path.split("/")[:depth]) for path in found.photos}
    _check_places(root, class_of, classes, evaluates=evaluates)
    photos = []
    for path, folder in class_of.items():
        split, _, class_name = folder.rpartition("/")
        photos.append(NamedPhoto(path, class_name, split))
    lists = from_names(
        "folder",
        root,
        photos,
        source=root,
        remedy=_REMEDY,
        test_fraction=test_fraction,
        seed=seed,
        evaluates=evaluates,
    )
    return lists._replace(notes=(*lists.notes, *found.notes()))


def _splits(root: Path, photos: Sequence[str]) -> list[str]:
    """Returns the folders that are splits."""
    folders = subfolders(root)
    splits = [name for name in folders if name.lower() in SPLIT_NAMES]
    if len(splits) == 1 < len(folders):
        prefix = f"{splits[0]}/"
        if any(path.startswith(prefix) and "/" not in path[len(prefix) :] for path in photos):
            return []
    return splits


def _check_places(
    root: Path, class_of: Mapping[str, str], classes: Collection[str], *, evaluates: bool
) -> None:
    """Raises where an image, a key of `class_of`, is in no class, or a class has no image.

    An evaluation may go without images of some classes.
    """
    stray = [path for path, folder in class_of.items() if folder not in classes]
    if stray:
        raise ValueError(
            f"{root} has {len(stray)} images outside the folders of classes, the first: "
            f"{stray[0]!r}: expected every image inside one. {_REMEDY}"
        )
    empty = sorted(set(classes) - set(class_of.values()))
    if empty and not evaluates:
        raise ValueError(
            f"{root} has {len(empty)} folders without images, the first: {empty[0]!r}: expected "
            f"files that end in {' '.join(sorted(photo_suffixes()))} in the folder of a class. "
            "Fill these folders or remove them."
        )


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
    """Returns the splits, the classes numbered in the order of their names.

    Names that differ in their Unicode form alone are the same. The order is by code point, or by
    value where all names are whole numbers. A class may lack test images. Folders and CSV files are
    both read by this function, so the same photos get the same labels and splits.

    Args:
      name: of the kind of data set.
      root: folder of the images.
      photos: of all splits; either all name their split, or none.
      source: the file or folder that lists the photos, for error messages.
      remedy: the sentence that ends each error message.
      test_fraction: share of each class to hold out where there are no splits, in (0, 1); 1, for an
        evaluation, tests all.
      seed: decides which images are held out, at least 0.
      evaluates: for a trained model; one class is enough, and there need be no training images.

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
        Record(photo.path, label, split == "train", validation=split == "validation")
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
            f"{source} has {len(photos)} images of {len(class_names)} classes {class_names}: "
            f"expected {expected}. {remedy}"
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
        return _named_splits(photos, source, remedy, evaluates=evaluates)
    if evaluates and test_fraction == 1:
        note = f"{printable(str(source))} has no splits: all of its images are for testing"
        return ["test"] * len(photos), [note]
    return _drawn_splits(photos, test_fraction, seed), []


def _drawn_splits(photos: Sequence[NamedPhoto], test_fraction: float, seed: int) -> list[str]:
    """Returns the split of each image, of which none says one."""
    names, paths = [photo.class_name for photo in photos], [photo.path for photo in photos]
    out = set(drawn_split(names, paths, test_fraction, seed, purpose="test")[1])
    return ["test" if index in out else "train" for index in range(len(photos))]


def in_order(class_names: Collection[str]) -> list[str]:
    """Returns names of classes by code point, or by value where all are whole numbers."""
    numbers = all(re.fullmatch("[0-9]{1,18}", class_name) for class_name in class_names)
    return sorted(class_names, key=lambda text: (int(text) if numbers else 0, text))


def _named_splits(
    photos: Sequence[NamedPhoto], source: Path, remedy: str, *, evaluates: bool
) -> tuple[list[str], list[str]]:
    """Returns the split of each image, as the photos say, and notes."""
    names, notes = sorted({photo.split.lower() for photo in photos}), []
    split_of = {name: SPLIT_NAMES[name] for name in names}
    found = sorted(split_of.values())
    if found == ["train", "validation"] or (evaluates and found == ["validation"]):
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
            f"{source} has {len(lacking)} classes without training images, the first: "
            f"{lacking[0]!r}: expected training images of every class. {remedy}"
        )
    return splits, notes
