"""PyTorch's zip format, written by hand from its description, so that files can be wrong."""

import io
import pickle
import struct
import zipfile

import numpy as np

STORAGES = {"f2": "Half", "f4": "Float", "f8": "Double", "i8": "Long", "V2": "BFloat16"}


class Raw:
    """Operations of a pickle as they are."""

    def __init__(self, operations: bytes) -> None:
        self.operations = operations


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    if 0 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return pickle.dumps(value, protocol=2)[2:-1]


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key: str, kind: str, count: int, shape, strides, offset: int = 0) -> Raw:
    """A view of a storage: torch._utils._rebuild_tensor_v2."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode()
    storage += text(key) + text("cpu") + number(count) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + hooks
    return Raw(b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR")


def whole(key: str, array: np.ndarray) -> Raw:
    """A contiguous view of all of a storage."""
    strides = [stride // array.itemsize for stride in array.strides]
    return tensor(key, STORAGES[array.dtype.str.lstrip("<|")], array.size, array.shape, strides)


def dumped(value) -> bytes:
    if isinstance(value, Raw):
        return value.operations
    if isinstance(value, dict):
        items = b"".join(text(key) + dumped(item) for key, item in value.items())
        return b"ccollections\nOrderedDict\n)R(" + items + b"u"
    return pickle.dumps(value, protocol=2)[2:-1]


def write_torch(path, tree, storages, *, extra=(), compression=zipfile.ZIP_STORED) -> None:
    """Writes a file of a tree of dicts and `Raw`, and storages (arrays or bytes) by key."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + dumped(tree) + b".")
        for key, storage in storages.items():
            data = storage.tobytes() if isinstance(storage, np.ndarray) else storage
            file.writestr(f"archive/data/{key}", data)
        for name, data in extra:
            file.writestr(f"archive/{name}", data)
    path.write_bytes(buffer.getvalue())
