"""Reads safetensors files, their arrays lazily."""

import contextlib
from collections.abc import Iterator
from functools import partial
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any

import numpy as np

from aftrans_jax.weights.arrays import StoredArray, readable

_DTYPES = MappingProxyType(
    {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "V2", "I64": "i8", "I32": "i4", "I16": "i2"}
    | {"I8": "i1", "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"}
)
_FORM = "a safetensors file: it is cut off or damaged"  # in messages
_UNKNOWN = "V1"  # types of 8 bits and fewer


@contextlib.contextmanager
def open_safetensors(path: str | PathLike[str]) -> Iterator[dict[str, StoredArray]]:
    """Yields the arrays of a safetensors file by name; the library has checked all sizes.

    The arrays can be read within the context.

    Raises:
      ValueError: the file is damaged; errors while reading an array are ValueErrors, too.
    """
    from safetensors import safe_open  # imported only for such a file

    with contextlib.ExitStack() as opened:
        with readable(_FORM):
            file = opened.enter_context(safe_open(fspath(path), "numpy"))
            stored = {name: _stored(file, name) for name in file.keys()}  # noqa: SIM118
        yield stored


def _stored(file: Any, name: str) -> StoredArray:
    part = file.get_slice(name)
    dtype = np.dtype(_DTYPES.get(part.get_dtype(), _UNKNOWN))
    return StoredArray(tuple(part.get_shape()), dtype, partial(_read, file, name))


def _read(file: Any, name: str) -> np.ndarray:
    with readable(_FORM):
        array = file.get_tensor(name)
    # The library returns bfloat16 as a type of ml_dtypes.
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
