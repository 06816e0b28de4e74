"""The format of a file of weights, by its content: three are read, others are named in errors.

No other library is imported or run for this: the first bytes and the names inside show it.
"""

import shlex
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType

OFFICIAL = "https://storage.googleapis.com/vit_models/imagenet21k/ViT-B_16.npz"

_OTHER_NAMES = (
    "cannot be read yet: its arrays have other names and layouts. Use the official npz of the same "
    f"model, such as {OFFICIAL}, or its safetensors file or PyTorch state dict"
)
_SAVE_AGAIN = (
    "torch.save(torch.load({path!r}, map_location='cpu', weights_only=True), 'x.pth') in a newer "
    "PyTorch makes a file that is"
)
_DOWNLOAD = "download the file itself and compare its size with the source's"
_UNPACK = "unpack it first and name the npz file in it"
_FLATTEN = (
    "from flax.traverse_util import flatten_dict; np.savez('x.npz', **flatten_dict(tree, sep='/'))"
)

# Formats that can be read, as named in messages.
NPZ = "an npz file"
_SAFETENSORS = "a safetensors file"
_TORCH = "a PyTorch file"
_FORMATS = MappingProxyType({NPZ: "npz", _SAFETENSORS: "safetensors", _TORCH: "torch"})

# Other formats -> advice; `path` and, quoted for a shell, `quoted` are filled in.
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "a PyTorch file (of before version 1.6)": f"not read. {_SAVE_AGAIN}",
        "a TorchScript program": (
            "never read, since it is a program. torch.save(torch.jit.load({path!r})"
            ".state_dict(), 'x.pth') makes a file of its arrays, where you trust it"
        ),
        "a TensorFlow checkpoint": _OTHER_NAMES,
        "a Keras model": _OTHER_NAMES,
        "an HDF5 file, as of Keras": _OTHER_NAMES,
        "a folder of Hugging Face": "expected model.safetensors or pytorch_model.bin in it",
        "a folder of Hugging Face, of several parts": (
            "expected one file. from transformers import AutoModel; AutoModel.from_pretrained("
            "{path!r}).save_pretrained('whole', max_shard_size='100GB') makes a folder with one"
        ),
        "a TensorFlow SavedModel": _OTHER_NAMES,
        "a msgpack file, as of Flax": (
            "cannot be read yet. Where its arrays have the official names, save them as npz: "
            "from pathlib import Path; from flax.serialization import msgpack_restore; tree = "
            "msgpack_restore(Path({path!r}).read_bytes()); " + _FLATTEN
        ),
        "a checkpoint folder of orbax": (
            "cannot be read yet. Where its arrays have the official names, save them as npz: "
            "tree = orbax.checkpoint.StandardCheckpointer().restore({path!r}); " + _FLATTEN
        ),
        "the working directory of a run": (
            "its trained trunk becomes an npz by python -m aftrans_jax.export --workdir={quoted}"
        ),
        "a Python pickle": (
            "never read, since it may run any code. Save its arrays by np.savez('x.npz', "
            "**arrays) where you trust it"
        ),
        "a single array (npy)": "expected all arrays of the model, as of np.savez",
        "a zip of other things": "expected one .npy file for each array, as of np.savez",
        "compressed by gzip": _UNPACK,
        "compressed by zstd": _UNPACK,
        "compressed by xz": _UNPACK,
        "compressed by bzip2": _UNPACK,
        "a tar archive": _UNPACK,
        "a web page": _DOWNLOAD,
        "a pointer of Git LFS, not the file": "run git lfs pull where it lies",
        "empty": _DOWNLOAD,
        "no npz file, nor another format that is known here": _DOWNLOAD,
    }
)

# The first pickle in such a file is this number.
_TORCH_NUMBER = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
_FIRST_BYTES: tuple[tuple[bytes, str], ...] = (
    (_TORCH_NUMBER, "a PyTorch file (of before version 1.6)"),
    *((b"\x80" + bytes([protocol]), "a Python pickle") for protocol in range(2, 6)),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as of Keras"),
    (b"\x93NUMPY", "a single array (npy)"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"\xfd7zXZ\x00", "compressed by xz"),
    (b"BZh", "compressed by bzip2"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file"),
)
_LONGEST_HEADER = 100_000_000  # bytes that safetensors allows
_TABLE_END = bytes.fromhex("57fb808b247547db")  # of TensorFlow's index files
_MSGPACK_TEXT = frozenset({*range(0xA1, 0xC0), 0xD9, 0xDA})  # first byte of a key


def file_format(path: str | PathLike[str]) -> str:
    """Returns the format of a file of weights: "npz", "safetensors" or "torch".

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it has another format; the message names it and says what to do.
    """
    kind = file_kind(path)
    if kind in _FORMATS:
        return _FORMATS[kind]
    path = str(Path(path).absolute())
    raise ValueError(f"it is {kind}: {REMEDIES[kind].format(path=path, quoted=shlex.quote(path))}")


def file_kind(path: str | PathLike[str]) -> str:
    """Returns the name of a file's or folder's kind in messages, such as "a safetensors file".

    Raises:
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if path.is_dir() and (kind := _folder_kind(path)):
        return kind
    if path.is_dir():
        raise FileNotFoundError(
            f"{str(path)!r} is a folder without weights: expected model.safetensors or "
            "pytorch_model.bin in it, or the path of another file of a ViT's weights"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(path)!r} is not a file: expected one of a ViT's weights, or the name of "
            "official ones, such as imagenet21k/ViT-B_16, or hf:OWNER/MODEL, which are downloaded; "
            "as pretrained= of a training, an empty value means random weights"
        )
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(512)
        stream.seek(max(0, size - len(_TABLE_END)))
        tail = stream.read()
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(path, head)
    return "a TensorFlow checkpoint" if size and tail == _TABLE_END else _file_kind(head, size)


def _zip_kind(path: Path, head: bytes) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except Exception:  # damaged, as its reader will say; the first name shows which reader
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return _TORCH if first.rpartition(b"/")[2] == b"data.pkl" else NPZ
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last:
        return "a TorchScript program"
    if "data.pkl" in last:
        return _TORCH
    if "model.weights.h5" in last:
        return "a Keras model"
    if not names:
        return "empty"
    return NPZ if any(name.endswith(".npy") for name in names) else "a zip of other things"


def _file_kind(head: bytes, size: int) -> str:
    if not head:
        return "empty"
    for first, kind in _FIRST_BYTES:
        if head.startswith(first):
            return kind
    # The length of a JSON header, then the header, or what a cut left of it.
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= max(size, _LONGEST_HEADER):
        return _SAFETENSORS
    if head[257:262] == b"ustar":
        return "a tar archive"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page"
    if _starts_msgpack_map(head):
        return "a msgpack file, as of Flax"
    return "no npz file, nor another format that is known here"


def _starts_msgpack_map(head: bytes) -> bool:
    """Whether a map of at least one entry begins here, with a text as its first key."""
    skipped = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else None)
    return skipped is not None and len(head) > skipped and head[skipped] in _MSGPACK_TEXT


def _folder_kind(path: Path) -> str | None:
    def holds(*names: str) -> bool:
        return any((path / name).exists() for name in names)

    if holds("checkpoints") and holds("config.json"):
        return "the working directory of a run"
    if holds("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "_sharding"):
        return "a checkpoint folder of orbax"
    if holds("saved_model.pb"):
        return "a TensorFlow SavedModel"
    if holds("pytorch_model.bin.index.json", "model.safetensors.index.json"):
        return "a folder of Hugging Face, of several parts"
    if holds("pytorch_model.bin", "model.safetensors", "flax_model.msgpack", "tf_model.h5"):
        return "a folder of Hugging Face"
    return None
