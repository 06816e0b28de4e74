"""Official ViT npz files: reading and writing them.

Other code that reads those files can read what is written here.
"""

import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

Arrays = dict[str, np.ndarray]
Params = Mapping[str, Any]  # a nested tree of arrays or of their shapes

MAX_LISTED = 8


def read_npz(path: str | PathLike[str]) -> Arrays:
    """Returns the arrays of an npz file by name.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not a readable npz, or holds anything but finite real numbers.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"pretrained={str(path)!r} is not a file. Official ViT files: "
            "https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz; "
            "--config.pretrained= (empty) starts from random weights"
        )
    try:
        # Opened here: np.load would leave a damaged file open. No pickles: they may run any code.
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    # TypeError: what np.load returns for a bare npy file is no context manager.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError) as error:
        complete = zipfile.is_zipfile(path)
        reason = str(error) if complete else "it is no npz file, or only the beginning of one"
        raise ValueError(
            f"pretrained={str(path)!r} cannot be read as an npz of plain arrays ({reason}): "
            "download it again and compare its size with the source's, or save it as plain arrays"
        ) from error
    odd = [f"{name} ({array.dtype})" for name, array in arrays.items() if not _is_real(array)]
    if odd:
        raise ValueError(
            f"pretrained={str(path)!r}: not of real numbers: {listed(odd)}. "
            "Save the arrays as float32"
        )
    bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if bad:
        raise ValueError(
            f"pretrained={str(path)!r}: non-finite numbers in {listed(bad)}: the file is damaged, "
            "download it again"
        )
    return arrays


def save_npz(path: str | PathLike[str], trunk: Params) -> None:
    """Writes a trunk's parameters under the official names, in float32.

    Follows: vit_jax checkpoint.save.
    """
    flat: dict[str, Any] = flatten_dict(trunk, sep="/")
    arrays: dict[str, Any] = {name: np.asarray(leaf, np.float32) for name, leaf in flat.items()}
    np.savez_compressed(path, **arrays)


def _is_real(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiu"


def listed(names: list[str]) -> str:
    """Returns the first `MAX_LISTED` names in alphabetical order, and how many more there are."""
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(sorted(names)[:MAX_LISTED]) + rest
