"""Splits one split in two, by a pseudo-random number for each image."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.names import composed
from aftrans_jax.data.sets.annotations import Annotations
from aftrans_jax.data.sets.photos import PhotoTable
from aftrans_jax.data.sets.subsets import Subset

_Listed = TypeVar("_Listed", bound=Annotations | Dataset)


def drawn_split(
    class_names: Sequence[str], paths: Sequence[str], fraction: float, seed: int, *, purpose: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the positions that stay and those that are held out, both ascending.

    An image is held out where its number in [0, 1) is below the fraction. The number depends on
    seed, purpose, class and path alone, so adding or removing images moves no others. One
    exception: in a class of two or more, the image with the lowest number is held out where
    otherwise none would be, and the one with the highest stays where otherwise all would be held
    out. The image of a class of one stays.

    Args:
      class_names: class name of each image.
      paths: path of each image; parts before a folder named like the class are ignored.
      fraction: fraction to hold out, in (0, 1).
      seed: seed for the numbers, at least 0.
      purpose: purpose of the held-out images, such as "test"; draws for two are independent.

    Raises:
      ValueError: the fraction is out of range, or no class has an example to spare.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"data.{purpose}_fraction={fraction} must lie in (0, 1), such as 0.2")
    members: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    for index, (class_name, path) in enumerate(zip(class_names, paths, strict=True)):
        key = f"{seed}\0{purpose}\0{composed(class_name)}\0{_below_class(class_name, path)}"
        members[composed(class_name)].append((_number(key), path, index))
    out = set()
    for images in members.values():
        ordered = sorted(images)
        number = sum(drawn < fraction for drawn, _, _ in ordered)
        number = min(max(number, 1), len(ordered) - 1)
        out.update(index for _, _, index in ordered[:number])
    if not out:
        remedy = "put them into train/ and test/ yourself, or say so in the column split"
        if purpose == "validation":
            remedy = "hold out nothing by --config.data.validation_fraction=0"
        raise ValueError(
            f"no class has two examples, so data.{purpose}_fraction={fraction} holds out none: "
            f"expected classes of at least two images. Add images, or {remedy}."
        )
    return tuple(i for i in range(len(paths)) if i not in out), tuple(sorted(out))


def _number(key: str) -> float:
    """Returns a pseudo-random number in [0, 1), the same everywhere."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def _below_class(class_name: str, path: str) -> str:
    """Returns a path from the folder of the class on, the full path where it has none."""
    parts = composed(path).split("/")
    folder = composed(class_name)
    return "/".join(parts[parts.index(folder) + 1 :] if folder in parts[:-1] else parts)


def hold_out(listed: _Listed, fraction: float, seed: int) -> _Listed:
    """Returns a set, or its tables, with a fraction of its training split as validation split.

    Checkpoints are chosen on the validation split; the test split stays as it is.

    Raises:
      ValueError: see `drawn_split`.
    """
    train = listed.train
    names = [listed.class_names[label] for label in train.labels]
    stay, out = drawn_split(names, tuple(train.names), fraction, seed, purpose="validation")
    take = train.take if isinstance(train, PhotoTable) else partial(Subset, train)
    return listed._replace(train=take(stay), validation=take(out))
