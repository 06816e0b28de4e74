"""Stanford Dogs in its official layout: MATLAB lists, a folder of images, XML files with boxes."""

import re
from pathlib import Path
from xml.etree import ElementTree

from aftrans_jax.data.sets.annotations import NO_BOX, Annotations, Box, Record, annotations, is_box
from aftrans_jax.data.sets.lists import find_root, inside, row_error, told_apart
from aftrans_jax.data.sets.matlab import read_entries, text, whole

_OFFICIAL = {120: (12000, 8580)}  # number of classes -> images in train, in test
_SITE = "http://vision.stanford.edu/aditya86/ImageNetDogs"
_REMEDY = f"Restore the lists from {_SITE}/lists.tar."
_BOX_REMEDY = f"Restore the folder from {_SITE}/annotation.tar, or rename it to do without boxes."


def read_dogs(directory: str | Path) -> Annotations:
    """Returns Stanford Dogs, or a copy of some of its classes, with boxes where annotated.

    Classes are named after their folders, without the number: "Shih-Tzu" for "n02086240-Shih-Tzu".
    Where a photo has several boxes, the first is taken. Corners are edges of pixels, since the
    smallest is 0. All XML files are read here, which takes 3 s for the 20,580 of the full set.

    Args:
      directory: the folder that holds `train_list.mat` (or `lists/train_list.mat`), or the folder
        around it.

    Raises:
      FileNotFoundError: a list or an XML file is absent; no image is looked for.
      OSError: one cannot be read.
      ValueError: a list or an XML file is damaged, or labels and folders disagree; the message
        names file and row.
    """
    root = find_root(
        directory,
        "stanford_dogs",
        holds=("train_list.mat", "lists/train_list.mat"),
        archive="lists.tar",
    )
    lists = root if (root / "train_list.mat").is_file() else root / "lists"
    paths = [lists / f"{split}_list.mat" for split in ("train", "test")]
    splits = {path: _labelled(path) for path in paths}
    folders = _folders(splits)
    boxes = root / "Annotation"
    box = _box if boxes.is_dir() else lambda path: NO_BOX
    records = [
        Record(name, class_id - 1, split, box((boxes / name).with_suffix("")))
        for split, names in zip(("train", "test"), splits.values(), strict=True)
        for name, class_id in names.items()
    ]
    return annotations(
        "dogs",
        root / "Images",
        records,
        told_apart((re.sub(r"^n\d+-", "", folder).replace("_", " "), folder) for folder in folders),
        official=_OFFICIAL.get(len(folders)),
        source=lists,
        remedy=_REMEDY,
    )


def _labelled(path: Path) -> dict[str, int]:
    """Returns path -> class id, from 1 on, of the images in a list."""

    def parse(file: object, label: object) -> tuple[str, int]:
        name = inside(text(file))
        if name.count("/") != 1:
            raise ValueError(name)
        return name, whole([label])[0]

    expected = "a path folder/image and a whole number"
    return read_entries(path, ["file_list", "labels"], parse, expected, remedy=_REMEDY)


def _folders(splits: dict[Path, dict[str, int]]) -> list[str]:
    """Returns the folder of each class; labels and folders must go together one to one."""
    num_classes = len({name.split("/")[0] for names in splits.values() for name in names})
    folder_of: dict[int, str] = {}
    id_of: dict[str, int] = {}
    for path, names in splits.items():
        for number, (name, class_id) in enumerate(names.items(), start=1):
            folder = name.split("/")[0]
            same_folder = folder_of.setdefault(class_id, folder) == folder
            same_id = id_of.setdefault(folder, class_id) == class_id
            if not (1 <= class_id <= num_classes and same_folder and same_id):
                expected = (
                    f"a label from 1 to {num_classes}, the number of folders, one for each folder: "
                    f"{class_id} goes with {folder_of[class_id]}, {folder} with {id_of[folder]}"
                )
                raise row_error(path, number, f"{name} {class_id}", expected, _REMEDY)
    return [folder_of[class_id] for class_id in range(1, num_classes + 1)]


def _box(path: Path) -> Box:
    """Returns the first box in the XML file of an image."""
    try:
        corners = ElementTree.parse(path).find("object/bndbox")
        if corners is None:
            raise ValueError("without a box")
        tags = ("ymin", "xmin", "ymax", "xmax")
        top, left, bottom, right = (float(corners.findtext(tag, "")) for tag in tags)
        box = (top, left, bottom, right)
        if not is_box(box):
            raise ValueError(box)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path.name} in {path.parent}. {_BOX_REMEDY}") from error
    except OSError as error:
        raise type(error)(f"{path} cannot be read ({error.strerror}). {_BOX_REMEDY}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): expected an XML file with an object whose bndbox "
            f"has finite xmin < xmax and ymin < ymax, the maxima above 0. {_BOX_REMEDY}"
        ) from error
    return box
