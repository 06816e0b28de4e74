"""Reads PyTorch files (zip, as of version 1.6), their arrays lazily.

The file's pickle is parsed, never executed. Every view is compared with the bytes that the file
holds before any is read.
"""

import contextlib
import functools
import math
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from aftrans_jax.weights.arrays import StoredArray, bfloat16_to_float32, readable
from aftrans_jax.weights.pickles import NamedFunction, read_pickle

MAX_BYTES = 4_000_000  # of the pickle: that of a state dict has about 200 bytes for each tensor

_DTYPES = MappingProxyType(
    {
        "torch DoubleStorage": "<f8",
        "torch FloatStorage": "<f4",
        "torch HalfStorage": "<f2",
        "torch BFloat16Storage": "V2",
        "torch LongStorage": "<i8",
        "torch IntStorage": "<i4",
        "torch ShortStorage": "<i2",
        "torch CharStorage": "i1",
        "torch ByteStorage": "u1",
        "torch BoolStorage": "?",
    }
)
_DEPTH = 4  # of nested dicts
_MAX_ENTRIES = 50_000  # arrays and dicts; a ViT-L's training has about 1,200 arrays
_MAX_SHARED = 2  # bytes of arrays for each byte of the file, where weights are tied
_BIG_ENDIAN = b"big"


class _Storage(NamedTuple):
    member: zipfile.ZipInfo
    dtype: np.dtype
    num_numbers: int


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements


@contextlib.contextmanager
def open_torch(path: str | PathLike[str]) -> Iterator[dict[str, StoredArray]]:
    """Yields the arrays of a PyTorch file by name; names of nested dicts are joined by "/".

    The arrays can be read within the context.

    Raises:
      ValueError: the pickle asks for something that no state dict needs, a view is larger than its
        storage, or the file is damaged; errors while reading an array are ValueErrors, too.
    """
    with contextlib.ExitStack() as opened:
        with readable("a PyTorch file"):
            file = opened.enter_context(zipfile.ZipFile(path))
            members = {member.filename: member for member in file.infolist()}
        pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} data.pkl: the file is damaged")
        root = pickles[0].removesuffix("data.pkl")
        data = _content(file, members, f"{root}data.pkl", MAX_BYTES)
        order = f"{root}byteorder"
        if order in members and _content(file, members, order, 16) == _BIG_ENDIAN:
            raise ValueError("it was written on a big-endian machine, which is not read")
        size = Path(path).stat().st_size
        tree = read_pickle(data, _KNOWN, partial(_storage, members, f"{root}data/", size))
        read = functools.lru_cache(maxsize=1)(partial(_numbers, file))  # views may share a storage
        yield {
            name: StoredArray(view.shape, view.storage.dtype, partial(_read, read, view))
            for name, view in _checked_views(tree, size).items()
        }


def _content(
    file: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str, limit: int
) -> bytes:
    if name not in members or members[name].file_size > limit:
        raise ValueError(f"{name} is absent or has more than {limit:,} bytes")
    with readable("a PyTorch file"):
        return file.read(members[name])


def _storage(
    members: Mapping[str, zipfile.ZipInfo], folder: str, file_size: int, given: Any
) -> _Storage:
    """Returns the storage of an id such as ("storage", torch.FloatStorage, "0", "cpu", 6)."""
    if not isinstance(given, tuple) or len(given) != 5 or given[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    _, kind, key, _, count = given
    if not isinstance(kind, NamedFunction) or kind.name not in _DTYPES or not isinstance(key, str):
        raise ValueError("a storage of no known type")
    dtype = np.dtype(_DTYPES[kind.name])
    member = members.get(folder + key)
    if member is None:
        raise ValueError(f"the storage {folder}{key[:200]} is absent")
    if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed or encrypted, which PyTorch never does")
    sizes = (member.file_size, member.compress_size)
    if type(count) is not int:  # not shown, since it may be too large
        raise ValueError(f"{member.filename} has a number of elements that is no whole number")
    if set(sizes) != {count * dtype.itemsize} or sizes[0] > file_size:
        raise ValueError(f"{member.filename} has {sizes[0]} bytes, not those of {count!r:.20}")
    return _Storage(member, dtype, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:
    """Returns the view that torch._utils._rebuild_tensor_v2 would make, if the storage holds it."""
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    whole = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    numbers = (offset, *shape, *strides) if whole else (None,)
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError("a tensor whose shape or strides are no counts")
    if len(shape) > 8:
        raise ValueError(f"a tensor of {len(shape)} axes")
    last = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    count = math.prod(shape)
    if count > storage.num_numbers or (count and offset + last >= storage.num_numbers):
        raise ValueError(
            f"{storage.member.filename} has {storage.num_numbers} numbers, fewer than a tensor of "
            f"shape {shape} and strides {strides} from {offset} on"
        )
    return _View(storage, offset, shape, strides)


def _empty_dict() -> dict[str, Any]:
    return {}


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _never(*_: Any) -> None:
    raise ValueError("a storage type is called")


# Everything that a state dict's pickle names, and Namespace, which trainings save beside it.
_KNOWN = MappingProxyType(
    {
        "collections OrderedDict": _empty_dict,
        "argparse Namespace": _empty_dict,
        "torch._utils _rebuild_tensor_v2": _tensor,
        "torch._utils _rebuild_parameter": _parameter,
        **dict.fromkeys(_DTYPES, _never),
    }
)


def _checked_views(tree: Any, file_size: int) -> dict[str, _View]:
    """Returns the views by name, if all of them together can be read."""
    named_views = list(_views(tree))
    views = dict(named_views)
    if not views or len(views) != len(named_views):
        what = "no arrays" if not views else "two arrays of one name"
        raise ValueError(f"it holds {what}: expected torch.save(model.state_dict(), 'x.pth')")
    num_bytes = sum(math.prod(x.shape) * x.storage.dtype.itemsize for x in views.values())
    if num_bytes > _MAX_SHARED * file_size:
        raise ValueError(
            f"its arrays share storages: they have {num_bytes:,} bytes, the file {file_size:,}. "
            f"Expected at most {_MAX_SHARED} times as many: save a copy of each array"
        )
    return views


def _views(tree: Any) -> Iterator[tuple[str, _View]]:
    """Yields the views in nested dicts, by name; each dict is entered once."""
    entered = set()
    waiting = [("", tree)]
    count = 0
    while waiting:
        prefix, node = waiting.pop()
        if id(node) in entered or prefix.count("/") > _DEPTH:
            continue
        entered.add(id(node))
        for key, value in node.items() if isinstance(node, dict) else ():
            if not isinstance(value, (_View, dict)):
                continue
            count += 1
            if count > _MAX_ENTRIES:
                raise ValueError(
                    f"it holds more than {_MAX_ENTRIES:,} arrays: expected a model's state dict"
                )
            name = f"{prefix}{key}"
            if isinstance(value, _View):
                yield name, value
            else:
                waiting.append((f"{name}/", value))


def _numbers(file: zipfile.ZipFile, storage: _Storage) -> np.ndarray:
    with readable("a PyTorch file"):
        return np.frombuffer(file.read(storage.member), storage.dtype)


def _read(numbers: Any, view: _View) -> np.ndarray:
    storage = numbers(view.storage)
    steps = [stride * storage.itemsize for stride in view.strides]
    viewed = np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, steps)
    return bfloat16_to_float32(np.array(viewed, order="C"))
