"""Arrays that are read from their file when they are needed, and the errors of all readers."""

import contextlib
import re
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

CONVERT = "python -m aftrans_jax.convert SOURCE"  # in messages; `naming` replaces SOURCE

MAX_LISTED = 8
_MAX_REASON = 200


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, as its header describes it; `np.asarray` reads it.

    `dtype` is that of the file, where bfloat16 is `V2`; `read` returns it as float32.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(), dtype) if copy else np.asarray(self.read(), dtype)


AnyArrays = Mapping[str, np.ndarray | StoredArray]
Shapes = Mapping[str, tuple[int, ...]]


class DamagedFileError(ValueError):
    """A file of arrays is damaged or of another kind.

    The message is `reason` and a remedy for downloaded weights.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}{remedy}")
        self.reason = reason


@contextlib.contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Puts the file's name before the text of a ValueError, and into commands with `CONVERT`.

    Names of arrays are escaped.
    """
    try:
        yield
    except ValueError as error:
        text = str(error).replace(CONVERT, CONVERT.replace("SOURCE", shlex.quote(str(path))))
        text = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
        )
        raise ValueError(f"pretrained={str(path)!r}: {text}") from error


@contextlib.contextmanager
def readable(form: str = "an npz of plain arrays") -> Iterator[None]:
    """Turns whatever libraries raise for a damaged file of a form into a DamagedFileError.

    From zipfile, zlib and numpy these are BadZipFile, zlib.error, EOFError, OSError, RuntimeError,
    NotImplementedError, KeyError, SyntaxError, tokenize's, OverflowError, MemoryError and more.
    """
    try:
        with warnings.catch_warnings():  # a damaged header may cause syntax warnings
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        reason = (str(error) or type(error).__name__)[:_MAX_REASON]  # numpy quotes a whole header
        raise DamagedFileError(
            f"cannot be read as {form} ({reason})",
            ": download it again and compare its size with the source's, or save it as plain "
            "arrays",
        ) from error


def to_float32(arrays: AnyArrays) -> Arrays:
    """Returns the arrays in float32, read if necessary and copied only where they must be.

    Raises:
      ValueError: they are not of floating-point numbers.
      DamagedFileError: they are not finite in float32, or all are 0.
    """
    odd = [f"{name} ({array.dtype})" for name, array in arrays.items() if not is_float(array.dtype)]
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
    damage = [f"{kind} in {listed(names)}" for kind, names in problems.items() if names]
    if result and not any(array.any() for array in result.values()):
        damage.append("every number is 0")
    if damage:
        raise DamagedFileError("; ".join(damage), ": the file is damaged, download it again")
    return result


def listed(names: list[str]) -> str:
    """Returns the first `MAX_LISTED` names in alphabetical order, and how many more there are."""
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(sorted(names)[:MAX_LISTED]) + rest


def misfits(shapes: Shapes, wanted: Shapes) -> str:
    """Returns which arrays are missing, unexpected or of another shape, "" where none is."""
    kinds = {
        "missing": [name for name in wanted if name not in shapes],
        "not expected": [name for name in shapes if name not in wanted],
        "of another shape": [
            f"{name} {shapes[name]} instead of {shape}"
            for name, shape in wanted.items()
            if shapes.get(name, shape) != shape
        ],
    }
    return "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds.items() if names)


def check_names(names: Iterable[str], foreign: Mapping[str, str], expected: str) -> None:
    """Checks that no name of an array matches a pattern of other models.

    Args:
      names: names of a file's arrays.
      foreign: what other models have or do, by a pattern of their names.
      expected: description of the expected model.

    Raises:
      ValueError: a name matches; the message says of which model.
    """
    names = list(names)
    for pattern, what in foreign.items():
        match = next((name for name in names if re.search(pattern, name)), None)
        if match is not None:
            raise ValueError(f"the model of this file {what} (it has {match}): expected {expected}")


def bfloat16_to_float32(array: np.ndarray) -> np.ndarray:
    """Returns numbers of two bytes without a type (V2) as float32, other arrays as they are."""
    if not _is_bfloat16(array.dtype):
        return array
    bits = array.view(np.uint16).astype(np.uint32)
    return np.asarray(bits << 16).view(np.float32)


def _is_bfloat16(dtype: np.dtype) -> bool:
    """Whether a type is what numpy writes for bfloat16, which it does not know."""
    return dtype.kind == "V" and dtype.itemsize == 2 and not (dtype.names or dtype.subdtype)


def is_float(dtype: np.dtype) -> bool:
    """Returns whether a type is of floating-point numbers, including bfloat16."""
    return dtype.kind == "f" or _is_bfloat16(dtype)
