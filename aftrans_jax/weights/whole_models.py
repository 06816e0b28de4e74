"""Files of whole trained models, as weights to start from: the trunk, and what is beside it.

`inference.single_file` writes them, and reads all that is in them.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from aftrans_jax.weights.arrays import AnyArrays
from aftrans_jax.weights.npz import WHOLE_MODEL
from aftrans_jax.weights.origins import Origin, from_text

EXPORT = "python -m aftrans_jax.export --format=aftrans"

_FORMS = {"settings": dict, "class_names": list, "result": dict}
_SIZES = ("model.stride", "data.image_size", "data.local_size", "data.source_size")
_TRUNK = "vit/"


class WholeModel(NamedTuple):
    """A whole trained model.

    Attributes:
      trunk: arrays of the trunk by official name.
      beside: the other arrays by name, such as "local/cls".
      origin: settings that it was trained with.
      stride: stride of its patches in px.
      local_size: side in px of the images that its local tokens are for, or else its trunk.
      source_size: side in px of the photos that its crops are cut from, twice its trunk's images
        where it cuts none.
      settings: all settings that it was trained with, by key.
      class_names: names of its classes, in the order of its head.
    """

    trunk: AnyArrays
    beside: AnyArrays
    origin: Origin
    stride: int
    local_size: int
    source_size: int
    settings: Mapping[str, Any]
    class_names: tuple[str, ...]


def whole_model(arrays: AnyArrays) -> WholeModel | None:
    """Returns the whole model that a file's arrays are of, None where it has no such record.

    Raises:
      ValueError: its record is damaged.
    """
    if WHOLE_MODEL not in arrays:
        return None
    record = whole_record(arrays)
    settings = record["settings"]
    classes = tuple(record["class_names"])
    trained = {key: settings.get(f"data.{key}") for key in ("mean", "std")}
    trained |= {"gelu": settings.get("model.gelu"), "size": settings.get("data.image_size")}
    name = settings.get("model.name")
    reason = f"a trained {name} of {len(classes)} classes, by its settings"
    try:
        origin = from_text(json.dumps(trained | {"reason": reason}).encode())
    except ValueError as error:
        raise ValueError(f"{error} by {EXPORT}") from error
    sizes = [settings.get(key) for key in _SIZES]
    if origin is None or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"its {WHOLE_MODEL} has sizes {sizes}: write the file again by {EXPORT}")
    trunk = {name.removeprefix(_TRUNK): x for name, x in arrays.items() if name.startswith(_TRUNK)}
    others = {name: x for name, x in arrays.items() if not name.startswith((_TRUNK, WHOLE_MODEL))}
    stride, image_size, *of_crops = sizes
    local_size, source_size = of_crops if "local/cls" in others else (image_size, 2 * image_size)
    return WholeModel(trunk, others, origin, stride, local_size, source_size, settings, classes)


def whole_record(arrays: AnyArrays) -> dict[str, Any]:
    """Returns the settings, class names and scores in a file of a whole model.

    Raises:
      ValueError: they are damaged.
    """
    stored = arrays[WHOLE_MODEL]
    try:
        if stored.dtype != np.uint8:
            raise ValueError(f"an array of {stored.dtype}")
        record = json.loads(np.asarray(stored).tobytes())
        for key, form in _FORMS.items():
            if not isinstance(record[key], form):
                raise ValueError(f"{key} is {record[key]!r:.80}")
        if not record["class_names"] or not all(isinstance(x, str) for x in record["class_names"]):
            raise ValueError("the names of the classes are no texts")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"its {WHOLE_MODEL} is damaged ({error}): write the file again by {EXPORT}"
        ) from error
    return record
