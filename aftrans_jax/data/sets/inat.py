"""iNaturalist 2017 in its official layout: two files in COCO's format, and a tree of images."""

import json
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TypeVar

from aftrans_jax.data.sets.annotations import Annotations, Record, annotations
from aftrans_jax.data.sets.lists import find_root, inside, read_text, told_apart

_OFFICIAL = {5089: (579184, 95986)}  # number of classes -> images in train, in val
_REMEDY = (
    "Restore the file from https://ml-inat-competition-datasets.s3.amazonaws.com/2017/"
    "train_val2017.zip."
)


class _Category(NamedTuple):
    id: int
    name: str
    supercategory: str


class _Image(NamedTuple):
    id: int
    file_name: str


class _Annotation(NamedTuple):
    image_id: int
    category_id: int


class _Split(NamedTuple):
    categories: dict[int, _Category]
    images: list[tuple[str, int]]  # path relative to the folder of train_val_images/, category


_Entry = TypeVar("_Entry", _Category, _Image, _Annotation)


def read_inat2017(directory: str | Path, *, supercategory: str = "") -> Annotations:
    """Returns iNaturalist 2017 without boxes; its validation images are the test split.

    Args:
      directory: the folder that holds `train_val_images/`; `train2017.json` and `val2017.json` lie
        beside it or in `train_val2017/`.
      supercategory: keeps the images and classes of one, such as "Aves"; "" keeps all.

    Raises:
      FileNotFoundError: a file is absent; no image is looked for.
      ValueError: the files are damaged or disagree, the message names file and entry; or nothing
        has that super-category.

    Follows: https://github.com/visipedia/inat_comp/tree/master/2017, Annotation Format.
    """
    archive = "each of train_val2017.zip and train_val_images.tar.gz"
    root = find_root(directory, "train_val2017", holds="train2017.json", archive=archive)
    train = _read_split(root / "train2017.json")
    test = _read_split(root / "val2017.json")
    _check_same(root, train.categories, test.categories)
    class_ids = _choose(train.categories, supercategory)
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    records = [
        Record(name, label_of[class_id], split)
        for split, listed in (("train", train), ("test", test))
        for name, class_id in listed.images
        if class_id in label_of
    ]
    return annotations(
        "inat17",
        Path(directory),
        records,
        told_apart((train.categories[class_id].name, class_id) for class_id in class_ids),
        official=_OFFICIAL.get(len(class_ids)),
        source=root,
        remedy=_REMEDY,
    )


def _check_same(root: Path, categories: dict[int, _Category], others: dict[int, _Category]) -> None:
    if differing := sorted(categories.items() ^ others.items()):
        key, _ = differing[0]
        raise ValueError(
            f"{root}: category {key} is {categories.get(key)} in train2017.json but "
            f"{others.get(key)} in val2017.json: expected the same in both. {_REMEDY}"
        )


def _choose(categories: dict[int, _Category], supercategory: str) -> list[int]:
    """Returns the sorted ids of the categories in a super-category, of all where it is empty."""
    choices = sorted({category.supercategory for category in categories.values()})
    if supercategory and supercategory not in choices:
        raise ValueError(
            f"supercategory is {supercategory!r}: expected one of {', '.join(choices)}. Choose one "
            "of them, or an empty string for all."
        )
    wanted = {supercategory} if supercategory else set(choices)
    return sorted(key for key, category in categories.items() if category.supercategory in wanted)


def _read_split(path: Path) -> _Split:
    """Returns what one file says, its annotations joined to its images by id."""
    lists = _parse(path)
    categories = _entries(path, lists, "categories", _Category)
    images = _entries(path, lists, "images", _Image)
    labels = _entries(path, lists, "annotations", _Annotation)
    strays = sorted(labels.keys() - images.keys())
    bare = sorted(images.keys() - labels.keys())
    if strays or bare:
        raise ValueError(
            f"{path}: image_id of {len(strays)} annotations is no image's id, the first: "
            f"{strays[:3]}, and {len(bare)} images have no annotation, the first: {bare[:3]}: "
            f"expected annotations that join the images by id, one each. {_REMEDY}"
        )
    for label in labels.values():
        if label.category_id not in categories:
            raise ValueError(
                f"{path}: {label} is of no category: expected the id of one of the "
                f"{len(categories)} categories. {_REMEDY}"
            )
    return _Split(
        categories, [(_name(path, image), labels[key].category_id) for key, image in images.items()]
    )


def _parse(path: Path) -> dict[str, object]:
    """Returns the JSON object that a file holds."""

    def refuse(number: str) -> None:
        raise ValueError(f"{number} is no number")

    text = read_text(path, remedy=_REMEDY)
    try:
        lists = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}: expected whole JSON. {_REMEDY}") from error
    if not isinstance(lists, dict):
        raise ValueError(f"{path} is a {type(lists).__name__}: expected an object. {_REMEDY}")
    return lists


def _entries(
    path: Path, lists: dict[str, object], name: str, kind: type[_Entry]
) -> dict[int, _Entry]:
    """Returns the entries of one list by the id that is their first field."""
    entries = lists.get(name)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: no list {name!r}: expected COCO's format. {_REMEDY}")
    pick = itemgetter(*kind._fields)
    types = tuple(kind.__annotations__.values())
    read: dict[int, _Entry] = {}
    for number, entry in enumerate(entries):
        try:
            value = kind._make(pick(entry))
        except (KeyError, TypeError):
            value = None
        if value is None or tuple(map(type, value)) != types or value[0] in read:
            fields = [f"{field} ({of.__name__})" for field, of in kind.__annotations__.items()]
            raise ValueError(
                f"{path}, {name}[{number}]: {entry!r:.200}: expected {', '.join(fields)}, and each "
                f"{kind._fields[0]} once. {_REMEDY}"
            )
        read[value[0]] = value
    return read


def _name(path: Path, image: _Image) -> str:
    """Returns the path of an image relative to the folder of `train_val_images/`."""
    try:
        name = inside(image.file_name)
    except ValueError:
        name = ""
    if not name.startswith("train_val_images/"):
        raise ValueError(f"{path}: {image}: expected a path in train_val_images/. {_REMEDY}")
    return name
