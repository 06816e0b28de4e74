"""Official ViT npz files: reading and writing them.

Other code that reads those files can read what is written here. The headers of all arrays are read
first, so that a file is compared with the model before anything large is.
"""

import contextlib
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from flax.traverse_util import flatten_dict

from aftrans_jax.weights.formats import check_format, check_members

Arrays = dict[str, np.ndarray]
Params = Mapping[str, Any]  # a nested tree of arrays or of their shapes

MAX_LISTED = 8
_MAX_REASON = 200
_END_RECORD = 22  # bytes, before a comment
_DEFLATE_RATIO = 1100  # deflate reaches 1032; a member that promises more is damaged


@dataclass(frozen=True)
class Stored:
    """An array in a file, as its header says; `np.asarray` reads it.

    `dtype` is that of the file, where bfloat16 is `V2`; `read` returns that as float32.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(), dtype) if copy else np.asarray(self.read(), dtype)


AnyArrays = Mapping[str, np.ndarray | Stored]


@contextlib.contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Puts the file's name in front of what a ValueError says, and escapes names of arrays."""
    try:
        yield
    except ValueError as error:
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode()
            for char in str(error)
        )
        raise ValueError(f"pretrained={str(path)!r}: {text}") from error


@contextlib.contextmanager
def open_npz(path: str | PathLike[str]) -> Iterator[dict[str, Stored]]:
    """Yields the arrays of an npz file by name; of each the header was read, and no more.

    They can be read within the context.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not a readable npz of plain arrays; errors while reading one are too.
    """
    check_format(path)
    with contextlib.ExitStack() as opened:
        with _readable():
            if not zipfile.is_zipfile(path):  # its list of members is at the end
                raise ValueError("it is only the beginning of one")
            file = opened.enter_context(zipfile.ZipFile(path))
        check_members(file.namelist())
        with _readable():
            _check_count(file, Path(path))
            stored = _members(file, Path(path).stat().st_size)
        yield stored


def read_npz(path: str | PathLike[str]) -> Arrays:
    """Returns all arrays of an npz file by name, in float32.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not a readable npz, or holds anything but finite floating-point numbers.
    """
    with naming(path), open_npz(path) as stored:
        return to_float32(stored)


def to_float32(arrays: AnyArrays) -> Arrays:
    """Returns the arrays in float32, read where they have not been, copied where they must be.

    Raises:
      ValueError: they are of another type than floating-point numbers, or not finite in float32.
    """
    odd = [
        f"{name} ({array.dtype})" for name, array in arrays.items() if not _is_float(array.dtype)
    ]
    if odd:
        raise ValueError(
            f"not of floating-point numbers: {listed(odd)}. Save the arrays as float32"
        )
    result: Arrays = {}
    problems: dict[str, list[str]] = {"non-finite numbers": [], "numbers beyond float32": []}
    for name, array in arrays.items():
        values = np.asarray(array)
        with np.errstate(over="ignore"):
            result[name] = np.asarray(values, np.float32)
        if not np.isfinite(result[name]).all():
            kind = "numbers beyond float32" if np.isfinite(values).all() else "non-finite numbers"
            problems[kind].append(name)
    found = [f"{kind} in {listed(names)}" for kind, names in problems.items() if names]
    if found:
        raise ValueError(f"{'; '.join(found)}: the file is damaged, download it again")
    return result


def save_npz(path: str | PathLike[str], trunk: Params) -> None:
    """Writes a trunk's parameters under the official names, in float32.

    Follows: vit_jax checkpoint.save.
    """
    save_arrays(path, flattened(trunk))


def save_arrays(path: str | PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Writes an npz file, whole or not at all."""
    temporary = Path(f"{os.fspath(path)}.tmp")
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    temporary.replace(path)


def flattened(tree: Params) -> Arrays:
    """Returns the leaves of a nested tree by name, such as "encoder_norm/bias", in float32."""
    leaves: dict[str, Any] = flatten_dict(tree, sep="/")
    return {name: np.asarray(leaf, np.float32) for name, leaf in leaves.items()}


def listed(names: list[str]) -> str:
    """Returns the first `MAX_LISTED` names in alphabetical order, and how many more there are."""
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(sorted(names)[:MAX_LISTED]) + rest


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Makes one ValueError of whatever zipfile, zlib and numpy raise for a damaged file.

    That is BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, KeyError,
    SyntaxError, tokenize's, OverflowError, MemoryError and more.
    """
    try:
        with warnings.catch_warnings():  # a damaged header may be a doubtful literal
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = (str(error) or type(error).__name__)[:_MAX_REASON]  # numpy's quote a whole header
        raise ValueError(
            f"cannot be read as an npz of plain arrays ({reason}): download it again and compare "
            "its size with the source's, or save it as plain arrays"
        ) from error


def _check_count(file: zipfile.ZipFile, path: Path) -> None:
    """Raises ValueError where the list of members is not as long as it says at its end.

    zipfile does not compare: a flipped bit in the length of a comment hides the members after it.
    """
    with path.open("rb") as stream:
        stream.seek(-_END_RECORD - len(file.comment), os.SEEK_END)
        record = stream.read(_END_RECORD)
    stated, found = int.from_bytes(record[10:12], "little"), len(file.infolist())
    if not record.startswith(b"PK\x05\x06") or stated not in (found, 0xFFFF):  # the latter: zip64
        raise ValueError(f"its list of {found} members does not end as it says")


def _members(file: zipfile.ZipFile, file_size: int) -> dict[str, Stored]:
    stored: dict[str, Stored] = {}
    for member in file.infolist():
        name, suffix = member.filename.removesuffix(".npy"), member.filename[-4:]
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
        stored[name] = Stored(shape, dtype, partial(_read, file, member))
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
    if version != (1, 0):  # the others are for structured types, and may have 4 GB of header
        raise ValueError(f"{name} has npy version {version}, expected (1, 0)")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds pickled Python objects, which may run any code")
    return tuple(int(length) for length in shape), dtype


def _read(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with _readable(), file.open(member) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    if not _is_bfloat16(array.dtype):
        return array
    bits = array.view(np.uint16).astype(np.uint32)
    return np.asarray(bits << 16).view(np.float32)


def _is_bfloat16(dtype: np.dtype) -> bool:
    """Whether it is what numpy writes for bfloat16, a type that it does not know."""
    return dtype.kind == "V" and dtype.itemsize == 2 and not (dtype.names or dtype.subdtype)


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or _is_bfloat16(dtype)
