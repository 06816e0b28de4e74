"""safetensors files: read lazily, and refused by name where they are damaged."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from aftrans_jax.weights.arrays import naming
from aftrans_jax.weights.formats import file_format
from aftrans_jax.weights.safetensor_files import open_safetensors


def read(path):
    assert file_format(path) == "safetensors"
    with naming(path), open_safetensors(path) as stored:
        return {
            name: (array.shape, array.dtype, np.asarray(array)) for name, array in stored.items()
        }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def test_types_and_shapes(path, rng):
    drawn = rng.normal(size=(2, 3))
    arrays = {kind: drawn.astype(kind) for kind in ("f8", "f4", "f2")} | {"i8": np.arange(4)}
    arrays |= {"scalar": np.float32(3), "bfloat16": drawn.astype(ml_dtypes.bfloat16)}
    save_file({name: np.asarray(x) for name, x in arrays.items()}, path)
    found = read(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        shape, dtype, values = found[name]
        assert shape == array.shape
        assert dtype == (np.dtype("V2") if name == "bfloat16" else array.dtype)
        assert values.dtype == (np.float32 if name == "bfloat16" else array.dtype)
        np.testing.assert_array_equal(values, array.astype(values.dtype), err_msg=name)


def written(header, data=bytes(24)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes):
    return {"w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]} | changes}


DAMAGED = {
    "cut": written(entry())[:-1],
    "cut header": written(entry())[:30] + bytes(40),
    "too long": written(entry(), bytes(25)),
    "shape beyond the bytes": written(entry(shape=[7])),
    "offsets beyond the file": written(entry(shape=[9], data_offsets=[0, 36])),
    "huge": written(entry(shape=[2**62, 2**62])),
    "negative": written(entry(shape=[-6])),
    "overlapping": written(entry() | {"v": entry()["w"]}),
    "no JSON": written(b"{" + b"x" * 60),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_damaged_is_refused_by_name(path, kind):
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(
        ValueError, match=r"x\.safetensors': (cannot be read as a safetensors file|it is)"
    ):
        read(path)


def test_types_of_fewer_bits_are_no_floating_point_numbers_here(path):
    path.write_bytes(written(entry(dtype="F8_E4M3", data_offsets=[0, 6]), bytes(6)))
    with naming(path), open_safetensors(path) as stored:
        assert stored["w"].dtype == np.dtype("V1")
