"""Official ViT npz files: reading and writing them.

Other code for these files can read what is written here. The headers of all arrays are read
first, so that a file is compared with the model before anything large is read.
"""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from io import BufferedIOBase
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from flax.traverse_util import flatten_dict

from aftrans_jax.files import atomic_write
from aftrans_jax.weights.arrays import Arrays, StoredArray, bfloat16_to_float32, readable

Params = Mapping[str, Any]  # a nested tree of arrays or of their shapes

WHOLE_MODEL = "aftrans.json"  # array in files that hold a full trained model, not only a trunk

_END_RECORD = 22  # bytes, before a comment
_DEFLATE_RATIO = 1100  # deflate reaches 1032; a member that promises more is damaged


@contextlib.contextmanager
def open_npz(path: str | PathLike[str]) -> Iterator[dict[str, StoredArray]]:
    """Yields the arrays of an npz file by name; at first only their headers are read.

    The arrays can be read within the context.

    Raises:
      ValueError: it is not a readable npz of plain arrays; errors while reading are ValueErrors.
    """
    with contextlib.ExitStack() as opened:
        with readable():
            if not zipfile.is_zipfile(path):  # the list of members is at the end
                raise ValueError("it is only the beginning of one")
            file = opened.enter_context(zipfile.ZipFile(path))
            _check_count(file, Path(path))
            stored = _members(file, Path(path).stat().st_size)
        yield stored


def save_npz(path: str | PathLike[str], trunk: Params, record: bytes = b"") -> None:
    """Writes a trunk's parameters under the official names, in float32; see `save_arrays`.

    Follows: vit_jax checkpoint.save.
    """
    save_arrays(path, flattened(trunk), record)


def save_arrays(path: str | PathLike[str], arrays: Mapping[str, Any], record: bytes = b"") -> None:
    """Writes an npz file, complete or not at all.

    Args:
      path: path of the file.
      arrays: arrays by name.
      record: bytes for the zip file's comment, which other readers ignore.
    """
    with atomic_write(Path(path)) as stream:
        np.savez_compressed(stream, **arrays)
        with zipfile.ZipFile(stream, "a") as file:
            file.comment = record


def record_of(path: str | PathLike[str]) -> bytes:
    """Returns the `record` that `save_arrays` wrote, empty where there is none."""
    with readable(), zipfile.ZipFile(path) as file:
        return file.comment


def flattened(tree: Params) -> Arrays:
    """Returns the leaves of a nested tree by name, such as "encoder_norm/bias", in float32."""
    leaves: dict[str, Any] = flatten_dict(tree, sep="/")
    return {name: np.asarray(leaf, np.float32) for name, leaf in leaves.items()}


def _check_count(file: zipfile.ZipFile, path: Path) -> None:
    """Raises ValueError where the list of members is not as long as its end record states.

    zipfile does not check this: a flipped bit in a comment's length hides the members after it.
    """
    with path.open("rb") as stream:
        stream.seek(-_END_RECORD - len(file.comment), os.SEEK_END)
        record = stream.read(_END_RECORD)
    stated = int.from_bytes(record[10:12], "little")
    count = len(file.infolist())
    if not record.startswith(b"PK\x05\x06") or stated not in (count, 0xFFFF):  # the latter: zip64
        raise ValueError(f"its list of {count} members does not end as it says")


def _members(file: zipfile.ZipFile, file_size: int) -> dict[str, StoredArray]:
    stored: dict[str, StoredArray] = {}
    for member in file.infolist():
        name = member.filename.removesuffix(".npy")
        suffix = member.filename[-4:]
        if suffix != ".npy":
            raise ValueError(f"{name} is no array")
        if name in stored:
            raise ValueError(f"it holds {name} twice")
        _check_member(name, member, file_size)
        with file.open(member) as stream:
            shape, dtype = _header(stream, name)
            declared = stream.tell() + math.prod(shape) * dtype.itemsize
        if declared != member.file_size:
            raise ValueError(
                f"the header of {name} is of {declared} bytes, its entry of {member.file_size}"
            )
        stored[name] = StoredArray(shape, dtype, partial(_read, file, member))
    return stored


def _check_member(name: str, member: zipfile.ZipInfo, file_size: int) -> None:
    if member.flag_bits & 1:
        raise ValueError(f"{name} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} has compression {member.compress_type}, which numpy never writes")
    held = min(member.compress_size, file_size)
    ratio = 1 if member.compress_type == zipfile.ZIP_STORED else _DEFLATE_RATIO
    if member.compress_size > file_size or member.file_size > ratio * held:
        raise ValueError(f"{name} promises {member.file_size} bytes, more than the file can hold")


def _header(stream: IO[bytes] | BufferedIOBase, name: str) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # others are for structured types, and may have 4 GB of header
        raise ValueError(f"{name} has npy version {version}, expected (1, 0)")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled Python objects, which may run any code")
    return tuple(int(length) for length in shape), dtype


def _read(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with readable(), file.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return bfloat16_to_float32(array)
