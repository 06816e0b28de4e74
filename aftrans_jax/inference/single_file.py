"""A trained model in one npz file: parameters, class names, settings, scores.

Beside the parameters, named after their modules, the file holds the bytes of a JSON text as one
array. Each array has the checksum of its zip entry.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from aftrans_jax.json_files import finite
from aftrans_jax.model.heads import HEADS
from aftrans_jax.weights.arrays import AnyArrays, DamagedFileError, misfits, to_float32
from aftrans_jax.weights.formats import NPZ, file_kind
from aftrans_jax.weights.npz import WHOLE_MODEL, flattened, open_npz, save_arrays
from aftrans_jax.weights.whole_models import EXPORT, whole_record
from aftrans_jax.workdir.record import completed

_SCORES = ("step", "num_test", *(f"{head}_accuracy" for head in HEADS))
_EXPECTED = (
    f"expected a file of {EXPORT}, or the working directory of a run. Weights to start from are "
    "given as --config.pretrained"
)


class Saved(NamedTuple):
    """Contents of a file: settings by key, class names, scores, and arrays by name."""

    path: Path
    settings: dict[str, Any]
    class_names: list[str]
    result: dict[str, Any]
    arrays: Mapping[str, np.ndarray]

    def fitted(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the parameters, nested.

        Args:
          expected: parameters of the model, nested; leaves have a `shape`.

        Raises:
          ValueError: names or shapes differ from the expected ones.
        """
        wanted = {name: leaf.shape for name, leaf in flattened(expected).items()}
        shapes = {name: array.shape for name, array in self.arrays.items()}
        if odd := misfits(shapes, wanted):
            raise ValueError(
                f"{self.path}: the parameters are not those of its settings; {odd}. Write it "
                f"again: {EXPORT}"
            )
        return unflatten_dict(dict(self.arrays), sep="/")


def save(
    path: Path,
    params: Mapping[str, Any],
    settings: Mapping[str, Any],
    class_names: Sequence[str],
    result: Mapping[str, Any],
) -> None:
    """Writes the file, complete or not at all.

    Args:
      path: path of the file.
      params: parameters of the full model, nested.
      settings: settings by key.
      class_names: names of the classes, in the order of the head.
      result: contents of result.json, whose accuracies are kept.
    """
    record = {
        "settings": dict(settings),
        "class_names": list(class_names),
        "result": {key: result[key] for key in _SCORES if key in result},
    }
    text = json.dumps(finite(record)).encode()
    save_arrays(path, flattened(params) | {WHOLE_MODEL: np.frombuffer(text, np.uint8)})


def read_saved(path: Path) -> Saved:
    """Returns the contents of a file that `save` wrote.

    Raises:
      ValueError: the file is damaged or of another kind; the message names it.
    """
    try:
        kind = file_kind(path)
        if path.suffix in (".stablehlo", ".onnx"):
            kind = (
                "an exported program, which runs without this package and computes in the float32 "
                "that it was exported in"
            )
        if kind != NPZ:
            raise ValueError(f"it is {kind}, not a whole trained model: {_EXPECTED}")
        with open_npz(path) as stored:
            arrays: AnyArrays = dict(stored)
            if WHOLE_MODEL not in arrays:
                raise ValueError(f"it holds arrays, but not a whole trained model: {_EXPECTED}")
            record = whole_record(arrays)
            values = to_float32({name: x for name, x in arrays.items() if name != WHOLE_MODEL})
    except DamagedFileError as error:
        raise ValueError(
            f"{path}: {error.reason}: the file is damaged. Copy it again, or write it again by "
            f"{EXPORT}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    settings = completed(record["settings"], path)
    return Saved(path, settings, record["class_names"], record["result"], values)
