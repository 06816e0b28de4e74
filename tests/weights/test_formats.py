"""Files of other libraries are known by their content, whatever their name, and nothing is run."""

import gzip
import pickle
import zipfile

import flax.serialization
import numpy as np
import orbax.checkpoint
import pytest

from aftrans_jax.weights.npz import read_npz

TREE = {"embedding": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}


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


FILES = {
    "PyTorch": (zipped("a/data.pkl", "a/data/0"), r"a PyTorch file \(zip\): .*jax\.convert"),
    "TorchScript": (zipped("m/data.pkl", "m/constants.pkl", "m/a.py"), "a TorchScript .*never"),
    "PyTorch 1.5": (torch_before_1_6, r"a PyTorch file \(of before version 1\.6\): .*weights_only"),
    "pickle 2": (content(pickle.dumps({"a": 1}, protocol=2)), "a Python pickle: is never read"),
    "pickle 5": (content(pickle.dumps({"a": 1}, protocol=5)), "a Python pickle: is never read"),
    "safetensors": (safetensors, r"a safetensors file: only npz .*aftrans_jax\.convert"),
    "msgpack": (content(flax.serialization.msgpack_serialize(TREE)), "a msgpack .*msgpack_restore"),
    "HDF5": (hdf5, "an HDF5 file, as of Keras: cannot be read yet: .*official npz of the same"),
    "Keras": (zipped("metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "TensorFlow": (content(b"\0" * 40 + bytes.fromhex("57fb808b247547db")), "a TensorFlow checkp"),
    "npy": (npy, r"a single array \(npy\): expected all arrays of the model"),
    "gzip": (content(gzip.compress(b"x")), "compressed by gzip: unpack it first"),
    "LFS": (content(b"version https://git-lfs.github.com/spec/v1\n"), "a pointer of Git LFS"),
    "HTML": (content(b"\n<!DOCTYPE html><html>404</html>"), "a web page: download the file itself"),
    "zip": (zipped("readme.txt"), "a zip of other things: expected one .npy file for each array"),
    "empty zip": (zipped(), "empty: download"),
    "empty": (content(b""), "empty: download the file itself"),
    "one byte": (content(b"\x81"), "no npz file, nor another format that is known here"),
    "text": (content(b"hello"), "no npz file, nor another format that is known here: download"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["x.npz", "x.bin"])
def test_a_file_of_another_kind_is_named_with_what_to_do(tmp_path, kind, name):
    write, message = FILES[kind]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}': it is {message}"):
        read_npz(tmp_path / name)


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
        r"the working directory of a run: .* aftrans_jax\.export --workdir",
    ),
    "Hugging Face": (folder("config.json", "model.safetensors"), "a folder of Hugging Face"),
    "in parts": (folder("config.json", "model.safetensors.index.json"), "a folder of .* one part"),
    "SavedModel": (folder("saved_model.pb"), "a TensorFlow SavedModel"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_another_kind_is_named_with_what_to_do(tmp_path, kind):
    write, message = FOLDERS[kind]
    write(tmp_path / "x")
    with pytest.raises(ValueError, match=rf"x': it is {message}"):
        read_npz(tmp_path / "x")


def test_the_lines_that_messages_name_make_an_npz(tmp_path, monkeypatch):
    """Those for msgpack and orbax, whose libraries are here."""
    from flax.serialization import msgpack_restore
    from flax.traverse_util import flatten_dict

    monkeypatch.chdir(tmp_path)
    names = {"flatten_dict": flatten_dict, "np": np, "msgpack_restore": msgpack_restore}
    (tmp_path / "x.msgpack").write_bytes(flax.serialization.msgpack_serialize(TREE))
    orbax_folder(tmp_path / "folder")
    for path in ("x.msgpack", "folder"):
        with pytest.raises(ValueError, match="names, save them as npz: ") as caught:
            read_npz(path)
        lines = str(caught.value).partition("save them as npz: ")[2]
        exec(lines, names | {"orbax": orbax, "path": tmp_path / "folder"})
        assert read_npz("x.npz").keys() == {"embedding/kernel", "embedding/bias"}
        (tmp_path / "x.npz").unlink()
