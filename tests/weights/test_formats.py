"""Files of other libraries are known by their content, whatever their name, and nothing is run."""

import bz2
import gzip
import lzma
import pickle
import re
import tarfile
import zipfile

import flax.serialization
import numpy as np
import orbax.checkpoint
import pytest

from aftrans_jax.inference.single_file import read_saved
from aftrans_jax.weights.reading import open_weights

TREE = {"embedding": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
MANY = {f"a{number}": np.ones(1, np.float32) for number in range(16)}  # more than a short map has


def zipped(*names):
    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, b"x")

    return write


def content(data: bytes):
    return lambda path: path.write_bytes(data)


def safetensors(path):
    """The format by hand: length of the header, header, data."""
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(3)


def torch_before_1_6(path):
    """The first of the pickles that such a file consists of."""
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps({}))


def npy(path):
    with path.open("wb") as stream:
        np.save(stream, np.ones(3))


def tar(path):
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("a"))


FILES = {
    "TorchScript": (zipped("m/data.pkl", "m/constants.pkl"), r"a TorchScript .*'/.*/x\.\w+'\)"),
    "PyTorch 1.5": (torch_before_1_6, r"a PyTorch file \(of before version 1\.6\): .*weights_only"),
    "pickle 2": (content(pickle.dumps({"a": 1}, protocol=2)), "a Python pickle: never read"),
    "pickle 5": (content(pickle.dumps({"a": 1}, protocol=5)), "a Python pickle: never read"),
    "msgpack": (content(flax.serialization.msgpack_serialize(TREE)), "a msgpack .*msgpack_restore"),
    "HDF5": (hdf5, "an HDF5 file, as of Keras: cannot be read yet: .*official npz of the same"),
    "Keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "TensorFlow": (content(b"\0" * 40 + bytes.fromhex("57fb808b247547db")), "a TensorFlow checkp"),
    "npy": (npy, r"a single array \(npy\): expected all arrays of the model"),
    "map of 16 bits": (content(flax.serialization.msgpack_serialize(MANY)), "a msgpack file, as"),
    "map of 32 bits": (content(b"\xdf\0\0\0\1\xa1a\1"), "a msgpack file, as of Flax"),
    "gzip": (content(gzip.compress(b"x")), "compressed by gzip: unpack it first"),
    "bzip2": (content(bz2.compress(b"x")), "compressed by bzip2: unpack it first"),
    "xz": (content(lzma.compress(b"x")), "compressed by xz: unpack it first"),
    "zstd": (content(bytes.fromhex("28b52ffd04000100")), "compressed by zstd: unpack it first"),
    "tar": (tar, "a tar archive: unpack it first"),
    "LFS": (content(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
    "HTML": (content(b"\n<!DOCTYPE html><html>404</html>"), "a web page: download the file itself"),
    "zip": (zipped("readme.txt"), "a zip of other things: expected one .npy file for each array"),
    "empty zip": (zipped(), "empty: download"),
    "empty": (content(b""), "empty: download the file itself"),
    "one byte": (content(b"\x81"), "no npz file, nor another format that is known here"),
    "text": (content(b"hello"), "no npz file, nor another format that is known here: download"),
}  # fmt: skip


def refused(path) -> str:
    """The message about a file or a folder that is given as `pretrained`."""
    with pytest.raises(ValueError, match="x") as caught, open_weights(str(path)):
        pass
    return str(caught.value)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["x.npz", "x.bin"])
def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path, kind, name):
    write, message = FILES[kind]
    write(tmp_path / name)
    assert re.search(rf"{name}': it is {message}", refused(tmp_path / name))


WEIGHTS = {
    "a PyTorch file": zipped("a/data.pkl", "a/data/0"),
    "a safetensors file": safetensors,
    "a Keras model": zipped("config.json", "model.weights.h5"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_in_the_place_of_a_trained_model_are_said_to_be_that(tmp_path, kind):
    WEIGHTS[kind](tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"x\.pth: it is {kind}, not a whole") as caught:
        read_saved(tmp_path / "x.pth")
    assert "python -m aftrans_jax.export --format=aftrans" in str(caught.value)
    assert "--config.pretrained" in str(caught.value)
    assert "convert" not in str(caught.value)


def folder(*names):
    def write(path):
        path.mkdir()
        for name in names:
            (path / name).touch()

    return write


def orbax_folder(path):
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, TREE)


FOLDERS = {
    "orbax": (orbax_folder, "a checkpoint folder of orbax: .*StandardCheckpointer"),
    "run": (
        folder("config.json", "checkpoints"),
        r"the working directory of a run: .* aftrans_jax\.export --workdir=/.*/x$",
    ),
    "Hugging Face": (folder("config.json", "flax_model.msgpack"), "a folder of Hugging Face: exp"),
    "in parts": (
        folder("config.json", "model.safetensors.index.json"),
        r"a folder of Hugging Face, of several parts: expected one .*pretrained\('/.*/x'\)\.save",
    ),
    "SavedModel": (folder("saved_model.pb"), "a TensorFlow SavedModel"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_another_kind_is_named_with_what_to_do(tmp_path, kind):
    write, message = FOLDERS[kind]
    write(tmp_path / "x")
    assert re.search(rf"x': it is {message}", refused(tmp_path / "x"))


def test_a_folder_without_weights_is_said_to_be_one(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="is a folder without weights: expected"),
        open_weights(str(tmp_path)),
    ):
        pass


@pytest.mark.parametrize("length", [40, 64])
def test_a_safetensors_file_that_was_cut_off_is_said_to_be(tmp_path, length):
    safetensors(tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[:length])
    assert len(whole) > length
    assert "a safetensors file: it is cut off or damaged (" in refused(tmp_path / "x.safetensors")


def test_the_lines_that_messages_name_make_an_npz(tmp_path, monkeypatch):
    """Those for msgpack and orbax, whose libraries are here."""
    from flax.serialization import msgpack_restore
    from flax.traverse_util import flatten_dict

    monkeypatch.chdir(tmp_path)
    names = {"flatten_dict": flatten_dict, "np": np, "msgpack_restore": msgpack_restore}
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.msgpack_serialize(TREE))
    orbax_folder(tmp_path / "folder")
    for path in ("x.msgpack", "folder"):
        exec(refused(path).partition("save them as npz: ")[2], names | {"orbax": orbax})
        with open_weights("x.npz") as weights:
            assert weights.arrays.keys() == {"embedding/kernel", "embedding/bias"}
        (tmp_path / "x.npz").unlink()
