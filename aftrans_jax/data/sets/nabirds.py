"""NABirds in its official layout: that of CUB, but with UUIDs and classes without images."""

import re
from pathlib import Path

from aftrans_jax.data.sets.annotations import Annotations, annotations
from aftrans_jax.data.sets.lists import (
    consecutive_labels,
    cub_records,
    find_root,
    read_rows,
    told_apart,
)

_NUM_NODES = 1011  # in the full tree of classes.txt
_NUM_CLASSES = 555  # of these nodes have images
_OFFICIAL = (23929, 24633)  # images in train, in test
_REMEDY = "Restore the lists from nabirds.tar.gz (https://dl.allaboutbirds.org/nabirds)."
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read_nabirds(directory: str | Path) -> Annotations:
    """Returns NABirds, or a copy of some of its classes, with boxes where annotated.

    `classes.txt` has the full tree of birds; only its nodes that have images become classes.

    Args:
      directory: folder that holds `images.txt`, or its parent.

    Raises:
      FileNotFoundError: a list is missing; images are not searched for.
      ValueError: the lists are damaged or disagree; the message names file and row.

    Follows: NABirds README.
    """
    root = find_root(directory, "nabirds", holds="images.txt", archive="nabirds.tar.gz")
    nodes = read_rows(root / "classes.txt", int, str, "a class name", remedy=_REMEDY)
    records = cub_records(root, _uuid, nodes, remedy=_REMEDY, id_form="a UUID with dashes")
    class_ids = sorted({record.label for record in records})
    full = len(nodes) == _NUM_NODES
    if full and len(class_ids) != _NUM_CLASSES:
        raise ValueError(
            f"{root / 'image_class_labels.txt'} has images of {len(class_ids)} classes: expected "
            f"{_NUM_CLASSES} of the {_NUM_NODES} in classes.txt. {_REMEDY}"
        )
    return annotations(
        "nabirds",
        root / "images",
        consecutive_labels(records, class_ids),
        told_apart((nodes[class_id], class_id) for class_id in class_ids),
        official=_OFFICIAL if full else None,
        source=root / "images.txt",
        remedy=_REMEDY,
    )


def _uuid(text: str) -> str:
    """Returns the text if it is a UUID, else raises ValueError."""
    if not _UUID.fullmatch(text):
        raise ValueError(text)
    return text
