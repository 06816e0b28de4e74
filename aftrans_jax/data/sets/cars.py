"""Stanford Cars in either of its public layouts: MATLAB lists and folders of images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from aftrans_jax.data.sets.annotations import Annotations, Record, annotations, is_box
from aftrans_jax.data.sets.lists import find_root, inside
from aftrans_jax.data.sets.matlab import read_entries, text, whole

_OFFICIAL = {196: (8144, 8041)}  # number of classes -> images in train, in test
_LABELLED = "cars_test_annos_withlabels.mat"
_REMEDY = (
    "Get the file again: the official link is gone, but "
    "https://github.com/pytorch/vision/issues/7545 names mirrors (Kaggle for the images, "
    f"car_devkit.tgz and {_LABELLED} for the lists)."
)


def read_cars(directory: str | Path) -> Annotations:
    """Returns Stanford Cars, or a copy of some of its classes, with boxes.

    The two layouts number the same images differently, so the images decide which lists apply: with
    `car_ims/` it is `cars_annos.mat`, else the lists in `devkit/` and the labels of the test images
    beside or in it. Only where there is neither `devkit/` nor `cars_train/` is `cars_annos.mat`
    read without `car_ims/`. Corners count from 1 and belong to the box: no corner of the full
    set is 0, every fiftieth x1 is 1.

    Args:
      directory: folder that holds `devkit/` or `cars_annos.mat`, or its parent.

    Raises:
      FileNotFoundError: a list is missing; images are not searched for.
      ValueError: a list is damaged; the message names file and row.

    Follows: car_devkit.tgz README.txt.
    """
    root = find_root(
        directory,
        "stanford_cars",
        holds=("devkit", "cars_annos.mat"),
        archive="car_devkit.tgz (or car_ims.tgz, with cars_annos.mat beside it)",
    )
    separate = any((root / name).is_dir() for name in ("devkit", "cars_train"))
    read = _devkit if separate and not (root / "car_ims").is_dir() else _one_list
    class_names, records = read(root)
    return annotations(
        "cars",
        root,
        records,
        class_names,
        official=_OFFICIAL.get(len(class_names)),
        source=root,
        remedy=_REMEDY,
    )


def _devkit(root: Path) -> tuple[list[str], list[Record]]:
    """Returns the class names, and the images in `cars_train/` and `cars_test/`."""
    devkit = root / "devkit"
    class_names = _class_names(devkit / "cars_meta.mat")
    places = [folder / _LABELLED for folder in (root, devkit)]
    labelled = next((path for path in places if path.is_file()), None)
    if labelled is None:
        raise FileNotFoundError(
            f"no {_LABELLED} in {root} or {devkit}: expected it apart from the files of "
            f"car_devkit.tgz, whose cars_test_annos.mat lacks the labels. {_REMEDY}"
        )

    lists = {"cars_train": devkit / "cars_train_annos.mat", "cars_test": labelled}
    records = []
    for test, (name, path) in enumerate(lists.items()):
        # Kaggle's archive has cars_train/cars_train/.
        folder = f"{name}/{name}" if (root / name / name).is_dir() else name
        records += _records(path, len(class_names), ["fname"], partial(_in_folder, folder, test))
    return class_names, records


def _in_folder(folder: str, test: int, name: object) -> tuple[str, int]:
    return f"{folder}/{inside(text(name))}", test


def _one_list(root: Path) -> tuple[list[str], list[Record]]:
    """Returns the class names, and the images in `car_ims/`."""
    path = root / "cars_annos.mat"
    class_names = _class_names(path)

    def place(name: object, test: object) -> tuple[str, int]:
        return inside(text(name)), whole([test])[0]

    return class_names, _records(path, len(class_names), ["relative_im_path", "test"], place)


def _class_names(path: Path) -> list[str]:
    def parse(name: object) -> tuple[str, None]:
        return text(name), None

    return list(read_entries(path, ["class_names"], parse, "a class name", remedy=_REMEDY))


def _records(
    path: Path, num_classes: int, columns: list[str], place: Callable[..., tuple[str, int]]
) -> list[Record]:
    """Returns the images of a list; `place` maps an entry's `columns` to its name and test flag."""

    def parse(*row: object) -> tuple[str, Record]:
        class_id, left, top, right, bottom = whole(row[:5])
        name, test = place(*row[5:])
        if not (1 <= class_id <= num_classes and test in (0, 1)):
            raise ValueError(row)
        box = (float(top - 1), float(left - 1), float(bottom), float(right))
        if not (min(left, top) >= 1 and is_box(box)):
            raise ValueError(row)
        return name, Record(name, class_id - 1, "test" if test else "train", box)

    columns = ["class", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", *columns]
    expected = (
        f"{', '.join(columns)}, that is: a class from 1 to {num_classes}, whole numbers with "
        "1 <= x1 <= x2 and 1 <= y1 <= y2, a path that stays inside, and test, if listed, 0 or 1"
    )
    entries = read_entries(path, columns, parse, expected, remedy=_REMEDY, struct="annotations")
    return list(entries.values())
