"""Folders of photos, one for each class, and `from_names`, by which CSV files are read as well.

Either `train/<class>/` beside `test/<class>/`, or `<class>/` alone, of which a share is held out.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aftrans_jax.data.sets.annotations import Annotations, Record, annotations
from aftrans_jax.data.sets.holdout import stratified_split

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
SPLIT_NAMES = {  # name of a split in lower case -> whether it is the training split
    "train": True,
    "training": True,
    "test": False,
    "testing": False,
    "val": False,
    "valid": False,
    "validation": False,
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


def read_folder(directory: str | Path, *, test_fraction: float = 0.2, seed: int = 0) -> Annotations:
    """Returns the photos in folders; a class is named after its folder, which may have subfolders.

    `val/` is the test split where there is no `test/`. Both together are an error, because it would
    not be clear which of them to test on.

    Args:
      directory: holds a folder for each split, named as in `SPLIT_NAMES`, or one for each class.
      test_fraction: share of each class to hold out where there are no splits, in (0, 1).
      seed: decides which images are held out, at least 0.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the folders are not arranged like that, or see `from_names`.
    """
    root = Path(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: expected one with images. {_REMEDY}")
    splits = [name for name in _subfolders(root) if name.lower() in SPLIT_NAMES]
    classes = {f"{split}/{name}" for split in splits for name in _subfolders(root / split)}
    if not splits:
        classes = set(_subfolders(root))
    depth = 2 if splits else 1
    class_of = {path: "/".join(path.split("/")[:depth]) for path in find_images(root)}
    _check_places(root, class_of, classes)
    photos = []
    for path, folder in class_of.items():
        split, _, class_name = folder.rpartition("/")
        photos.append(NamedPhoto(path, class_name, split))
    return from_names(
        "folder", root, photos, source=root, remedy=_REMEDY, test_fraction=test_fraction, seed=seed
    )


def _check_places(root: Path, class_of: Mapping[str, str], classes: Collection[str]) -> None:
    """Raises where an image, a key of `class_of`, is in no class, or a class has no image."""
    stray = [path for path, folder in class_of.items() if folder not in classes]
    if stray:
        raise ValueError(
            f"{root} has {len(stray)} images outside the folders of classes, the first: "
            f"{stray[0]!r}: expected every image inside one. {_REMEDY}"
        )
    empty = sorted(set(classes) - set(class_of.values()))
    if empty:
        raise ValueError(
            f"{root} has {len(empty)} folders without images, the first: {empty[0]!r}: expected "
            f"files that end in {' '.join(sorted(IMAGE_SUFFIXES))} in the folder of a class. Fill "
            "these folders or remove them."
        )


def find_images(root: str | Path) -> list[str]:
    """Returns the paths of all image files below a folder, relative to it and sorted.

    Image files are known by their suffix (`IMAGE_SUFFIXES`, in any case); none is opened. Links are
    followed, except to a folder that contains the link. Hidden files and folders are left out, and
    so is `__MACOSX`, which macOS adds to archives.
    """
    return sorted(_images_below(Path(root), "", ()))


def _images_below(folder: Path, prefix: str, above: tuple[Path, ...]) -> Iterator[str]:
    """Yields the images of a folder and those below; `above` are the real folders on the way."""
    here = folder.resolve()
    if any(parent.is_relative_to(here) for parent in above):
        return  # a link to a folder that contains it
    for path in _visible(folder):
        if path.is_dir():
            yield from _images_below(path, f"{prefix}{path.name}/", (*above, here))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield prefix + path.name  # a dangling link too, so that it is reported as missing


def _visible(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name != "__MACOSX"
    )


def _subfolders(folder: Path) -> list[str]:
    return [path.name for path in _visible(folder) if path.is_dir()]


def from_names(
    name: str,
    root: Path,
    photos: Collection[NamedPhoto],
    *,
    source: Path,
    remedy: str,
    test_fraction: float,
    seed: int,
) -> Annotations:
    """Returns both splits, the classes numbered in the order of their names.

    That order is by code point, or by value where all names are whole numbers. A class may lack
    test images. Folders and CSV files are both read by this function, so the same photos get the
    same labels and splits.

    Args:
      name: of the kind of data set.
      root: folder of the images.
      photos: of both splits; either all name their split, or none.
      source: the file or folder that lists the photos, for error messages.
      remedy: the sentence that ends each error message.
      test_fraction: share of each class to hold out where there are no splits, in (0, 1).
      seed: decides which images are held out, at least 0.

    Raises:
      ValueError: there are fewer than two classes, a class has no training images, or the splits
        are not one for training and one for testing; or see `stratified_split`.
    """
    photos = sorted(photos, key=lambda photo: photo.path)
    class_names = _ordered({photo.class_name for photo in photos})
    if len(class_names) < 2:
        raise ValueError(
            f"{source} has {len(photos)} images of {len(class_names)} classes {class_names}: "
            f"expected two classes or more. {remedy}"
        )
    label_of = {class_name: label for label, class_name in enumerate(class_names)}
    labels = [label_of[photo.class_name] for photo in photos]
    if any(photo.split for photo in photos):
        train = _in_train(photos, source, remedy)
    else:
        stay = set(stratified_split(labels, test_fraction, seed)[0])
        train = [index in stay for index in range(len(photos))]
    records = [
        Record(photo.path, label, in_train)
        for photo, label, in_train in zip(photos, labels, train, strict=True)
    ]
    return annotations(
        name, root, records, class_names, official=None, source=source, remedy=remedy
    )


def _ordered(class_names: Collection[str]) -> list[str]:
    numbers = all(re.fullmatch("[0-9]{1,18}", class_name) for class_name in class_names)
    return sorted(class_names, key=lambda text: (int(text) if numbers else 0, text))


def _in_train(photos: Sequence[NamedPhoto], source: Path, remedy: str) -> list[bool]:
    """Returns whether each image is in the training split, as the photos say."""
    splits = sorted({photo.split.lower() for photo in photos})
    if sorted(SPLIT_NAMES[split] for split in splits) != [False, True]:
        raise ValueError(
            f"{source} has the splits {splits}: expected two, one for training and one for testing,"
            f" such as train and test. {remedy}"
        )
    train = [SPLIT_NAMES[photo.split.lower()] for photo in photos]
    trained = {photo.class_name for photo, in_train in zip(photos, train, strict=True) if in_train}
    lacking = sorted({photo.class_name for photo in photos} - trained)
    if lacking:
        raise ValueError(
            f"{source} has {len(lacking)} classes with test images only, the first: "
            f"{lacking[0]!r}: expected training images of every class. {remedy}"
        )
    return train
