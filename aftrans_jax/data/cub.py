"""CUB-200-2011 in its official layout: lists joined by image id, and a folder of images."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path, PureWindowsPath
from typing import NamedTuple, TypeVar

import numpy as np

from aftrans_jax.data.examples import Dataset, Examples, photo_dataset

_Value = TypeVar("_Value")

_NO_BOX = (math.nan, math.nan, math.nan, math.nan)
_OFFICIAL_COUNTS = {200: (5994, 5794)}  # number of classes -> images in train, in test
_REMEDY = "Restore the lists from CUB_200_2011.tgz (https://data.caltech.edu/records/65de6-vp158)."


class Annotations(NamedTuple):
    """What the lists say: the table of either split, and the class names in the order of labels.

    Choice: apart from the image files, so that lists can be checked without them.
    """

    train: Examples
    test: Examples
    class_names: tuple[str, ...]


class _Image(NamedTuple):
    name: str
    label: int
    train: bool
    box: tuple[float, float, float, float]


def read_cub(directory: str | Path) -> Dataset:
    """Returns CUB-200-2011, or a copy of some of its classes, with boxes where annotated.

    Args:
      directory: the folder that holds `images.txt`, or the folder around it.

    Raises:
      FileNotFoundError: a list or a listed image is absent.
      ValueError: the lists are damaged or disagree; the message names file and row.

    Follows: CUB-200-2011 README.
    """
    return photo_dataset("cub", *read_annotations(directory))


def read_annotations(directory: str | Path) -> Annotations:
    """Returns what the lists say; no image is looked for.

    Args:
      directory: the folder that holds `images.txt`, or the folder around it.

    Raises:
      FileNotFoundError: a list is absent.
      ValueError: the lists are damaged or disagree; the message names file and row.

    Choice: examples are ordered by image id, so the order of rows means nothing.
    """
    root = _find_root(Path(directory))
    class_names = _parse(root / "classes.txt", _class_name, "a class name")
    images = _read_images(root, sorted(class_names))
    counts = Counter(image.train for image in images)
    expected = _OFFICIAL_COUNTS.get(len(class_names))
    if expected not in (None, (counts[True], counts[False])):
        raise ValueError(
            f"{root} lists {counts[True]} train and {counts[False]} test images of "
            f"{len(class_names)} classes: expected {expected[0]} and {expected[1]}. {_REMEDY}"
        )
    train, test = (
        _table(root, [image for image in images if image.train == train], len(class_names))
        for train in (True, False)
    )
    return Annotations(train, test, tuple(class_names[key] for key in sorted(class_names)))


def _find_root(directory: Path) -> Path:
    for root in (directory, directory / "CUB_200_2011"):
        if (root / "images.txt").is_file():
            return root
    raise FileNotFoundError(
        f"no images.txt in {directory} or {directory / 'CUB_200_2011'}: expected CUB-200-2011 in "
        "its official layout. Set data.dir to the folder that CUB_200_2011.tgz unpacks to."
    )


def _read_images(root: Path, class_ids: list[int]) -> list[_Image]:
    """Returns all images in the order of their ids."""
    names = _parse(root / "images.txt", _inside, "a path inside the folder images/")
    twins = [name for name, count in Counter(names.values()).items() if count > 1]
    if twins:
        raise ValueError(
            f"{root / 'images.txt'}: {len(twins)} images have two ids, the first: {twins[0]!r}: "
            f"expected each image once. {_REMEDY}"
        )
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    labels = _parse(
        root / "image_class_labels.txt",
        lambda text: label_of[int(text)],
        f"one of the {len(class_ids)} class ids in classes.txt",
        names,
    )
    in_train = {"1": True, "0": False}.__getitem__
    train = _parse(root / "train_test_split.txt", in_train, "1 (train) or 0 (test)", names)
    boxes = dict.fromkeys(names, _NO_BOX)
    if (root / "bounding_boxes.txt").is_file():
        expected = "finite numbers x y width height, the last two above 0"
        boxes = _parse(root / "bounding_boxes.txt", _box, expected, names)
    return [_Image(names[key], labels[key], train[key], boxes[key]) for key in sorted(names)]


def _parse(
    path: Path,
    parse: Callable[[str], _Value],
    expected: str,
    ids: Collection[int] | None = None,
) -> dict[int, _Value]:
    """Returns id -> what `parse` makes of the rest of its row; `ids`: exactly those must be there.

    `parse` refuses a text by a ValueError or KeyError; `expected` says what it takes.
    """
    values: dict[int, _Value] = {}
    for line, row in enumerate(_read_text(path).split("\n"), start=1):
        if not row.strip():
            continue
        try:
            key_text, text = row.split(maxsplit=1)
            key, value = int(key_text), parse(text.strip())
        except (ValueError, KeyError) as error:
            raise _row_error(path, line, row, f"an id and {expected}") from error
        if key in values:
            raise _row_error(path, line, row, f"each id once, but {key} has a row above")
        if ids is not None and key not in ids:
            raise _row_error(path, line, row, "an id that images.txt lists")
        values[key] = value
    missing = sorted(set(ids or ()) - values.keys())
    if missing:
        raise ValueError(
            f"{path} has no row for {len(missing)} of the {len(ids or ())} ids in images.txt, the "
            f"first: {missing[:3]}: expected every id in every list. {_REMEDY}"
        )
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # whatever the line ends, they read as \n
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path.name} in {path.parent}. {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}. {_REMEDY}") from error


def _row_error(path: Path, line: int, row: str, expected: str) -> ValueError:
    return ValueError(f"{path}, row {line}: {row.strip()!r}: expected {expected}. {_REMEDY}")


def _class_name(text: str) -> str:
    """Returns "Black footed Albatross" for "001.Black_footed_Albatross"."""
    return re.sub(r"^\d+\.", "", text).replace("_", " ")


def _inside(text: str) -> str:
    """Returns a path with forward slashes; refuses one that leaves the folder it is relative to."""
    path = PureWindowsPath(text)  # knows both kinds of slash, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError(text)
    return path.as_posix()


def _box(text: str) -> tuple[float, float, float, float]:
    """Returns (top, left, bottom, right) for "x y width height"."""
    left, top, width, height = (float(number) for number in text.split())
    box = (top, left, top + height, left + width)
    if not (all(map(math.isfinite, box)) and width > 0 and height > 0):
        raise ValueError(text)
    return box


def _table(root: Path, images: list[_Image], num_classes: int) -> Examples:
    return Examples(
        root / "images",
        tuple(image.name for image in images),
        tuple(image.label for image in images),
        num_classes,
        np.array([image.box for image in images], np.float32).reshape(-1, 4),
    )
