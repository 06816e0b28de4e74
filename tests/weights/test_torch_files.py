"""PyTorch files: views are read right; whatever is wrong or asks for code is refused by name."""

import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
from torch_file import Raw, number, tensor, text, whole, write_torch

from aftrans_jax.weights.arrays import naming, to_float32
from aftrans_jax.weights.formats import file_format
from aftrans_jax.weights.pytorch import MAX_BYTES, open_torch


def read(path):
    assert file_format(path) == "torch"
    with naming(path), open_torch(path) as stored:
        return {name: np.asarray(array) for name, array in stored.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pth"


def test_types_shapes_and_nested_names(path, rng):
    arrays = {
        "half": rng.normal(size=(2, 3)).astype("f2"),
        "double": rng.normal(size=(4,)),
        "count": np.array(7, "i8"),
    }
    brain = rng.normal(size=(3, 2)).astype(ml_dtypes.bfloat16)
    tree = {"epoch": 3, "model": {name: whole(name, x) for name, x in arrays.items()}}
    tree["model"]["brain"] = whole("brain", brain.view("V2"))
    write_torch(path, tree, {**arrays, "brain": brain.view("V2")})
    found = read(path)
    assert found.keys() == {"model/half", "model/double", "model/count", "model/brain"}
    for name, array in arrays.items():
        assert found[f"model/{name}"].dtype == array.dtype
        np.testing.assert_array_equal(found[f"model/{name}"], array)
    np.testing.assert_array_equal(found["model/brain"], brain.astype(np.float32))


def test_strides_offsets_and_shared_storages(path):
    base = np.arange(24, dtype="f4")
    tree = {
        "transposed": tensor("0", "Float", 24, (4, 3), (1, 4), offset=2),
        "every_second": tensor("0", "Float", 24, (3,), (2,), offset=19),
        "expanded": tensor("0", "Float", 24, (2, 3), (0, 1)),
        "empty": tensor("0", "Float", 24, (0, 3), (3, 1)),
        "scalar": tensor("0", "Float", 24, (), (), offset=23),
    }
    write_torch(path, tree, {"0": base})
    found = read(path)
    np.testing.assert_array_equal(found["transposed"], base[2:14].reshape(3, 4).T)
    np.testing.assert_array_equal(found["every_second"], [19, 21, 23])
    np.testing.assert_array_equal(found["expanded"], [[0, 1, 2], [0, 1, 2]])
    assert found["empty"].shape == (0, 3)
    assert found["scalar"].shape == ()
    assert found["scalar"] == 23


def test_what_no_vit_has_is_not_read(path):
    write_torch(path, {"count": whole("0", np.arange(3))}, {"0": np.arange(3)})
    with open_torch(path) as stored, pytest.raises(ValueError, match=r"count \(int64\)"):
        to_float32(stored)


class Malicious:
    """The object that a malicious pickle is made of."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_asks_for_code_is_refused_and_runs_nothing(path, tmp_path, protocol):
    """It is refused by name, also behind a state dict, and in every protocol."""
    made = tmp_path / "made"
    for attack, name in (
        (Malicious(os.system, f"touch {made}"), r"(posix|nt)\.system"),
        (Malicious(eval, f"open({str(made)!r}, 'w')"), r"(builtins|__builtin__)\.eval"),
        (Malicious(getattr, os, "system"), r"(builtins|__builtin__)\.getattr"),
    ):
        try:
            data = pickle.dumps(attack, protocol)
        except TypeError:  # a module cannot be pickled
            data = b"\x80\x02c__builtin__\ngetattr\n."
        hidden = Raw(data[2:-1]) if protocol == 2 else None
        array = np.ones(2, "f4")
        tree = {"w": whole("0", array)} | ({"x": hidden} if hidden else {})
        write_torch(path, tree, {"0": array})
        if hidden is None:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("archive/data.pkl", data)
        with pytest.raises(
            ValueError, match=rf"x\.pth': its pickle asks for {name}, which may run"
        ):
            read(path)
        assert not made.exists()


SMALL = np.zeros(6, "f4")


def storage(operations: bytes) -> Raw:
    """A tensor whose storage is something else."""
    rest = number(0) + b"(J\2\0\0\0t(J\1\0\0\0t\x89ccollections\nOrderedDict\n)R"
    return Raw(b"ctorch._utils\n_rebuild_tensor_v2\n(" + operations + rest + b"tR")


# A pair of a pair, 60 levels deep: its repr would have 2**60 parts.
NEST = b")" + b"q\0h\0\x86" * 60
COUNTED = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
NESTED_COUNT = storage(COUNTED + NEST + b"tQ")

WRONG = {
    "shape beyond the storage": (tensor("0", "Float", 6, (7,), (1,)), "6 numbers, fewer than a t"),
    "stride beyond it": (tensor("0", "Float", 6, (2, 2), (5, 1)), "fewer than a tensor of shape"),
    "offset beyond it": (tensor("0", "Float", 6, (2,), (1,), offset=5), "fewer than a tensor"),
    "a bomb by stride 0": (tensor("0", "Float", 6, (10**9, 999), (0, 0)), "fewer than a tensor"),
    "a huge count": (tensor("0", "Float", 10**12, (10**12,), (1,)), "has 24 bytes, not those of"),
    "a nest as a count": (NESTED_COUNT, "a number of elements that is no whole number"),
    "a nest as a name": (Raw(NEST + b"q\0h\0\x93"), r"its pickle is damaged \(TypeError"),
    "a long name": (Raw(text("o" * 10_000) + text("x") + b"\x93"), r"asks for o{200}\.x, which"),
    "many arguments": (
        Raw(b"ctorch._utils\n_rebuild_parameter\n(" + b"N" * 17 + b"tR"),
        r"its pickle is damaged \(TypeError",
    ),
    "a long key": (Raw(b"}" + text("k" * 201) + b"Ns"), "has a name of 201 characters: expected"),
    "another type": (tensor("0", "Double", 6, (6,), (1,)), "has 24 bytes, not those of 6"),
    "a negative stride": (tensor("0", "Float", 6, (2,), (-1,), offset=5), "are no counts"),
    "a number beyond counts": (tensor("0", "Float", 6, (2**70,), (1,)), "are no counts"),
    "axes that differ": (tensor("0", "Float", 6, (2, 3), (1,)), "are no counts"),
    "absent storage": (tensor("9", "Float", 6, (6,), (1,)), "archive/data/9 is absent"),
    "path out of the file": (tensor("../../9", "Float", 6, (6,), (1,)), "is absent"),
    "complex numbers": (tensor("0", "ComplexFloat", 3, (3,), (1,)), r"torch\.ComplexFloatStorage"),
    "no storage": (storage(text("x")), "a tensor without a storage"),
    "an odd persistent id": (storage(text("x") + b"Q"), "a persistent id that is no storage"),
    "a storage that is called": (Raw(b"ctorch\nFloatStorage\n)R"), "a storage type is called"),
    "a call of a text": (Raw(text("x") + b")R"), "its pickle is damaged"),
    "an argument too many": (Raw(b"ccollections\nOrderedDict\nK\1\x85R"), "its pickle is damaged"),
    "an operation without operands": (Raw(b"00R"), "operation POP|is damaged"),
    "an old operation": (Raw(b"I1\n"), "has the operation INT, which no state dict needs"),
    "an extension": (Raw(b"\x82\x01"), "has the operation EXT1"),
    "an instance": (Raw(b"(ios\nsystem\n"), "has the operation INST"),
    "a tuple as a key": (Raw(b"}))s"), "its pickle is damaged"),
    "a memo that is not there": (Raw(b"h\x09"), "its pickle is damaged"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_refused_by_name_before_anything_is_read(path, kind, monkeypatch):
    tree, message = WRONG[kind]
    write_torch(path, {"w": tree}, {"0": SMALL})
    monkeypatch.setattr("aftrans_jax.weights.pytorch._numbers", None)
    with pytest.raises(ValueError, match=rf"x\.pth': .*({message})"):
        read(path)


def test_more_arrays_than_any_training_has_are_refused(path, monkeypatch):
    monkeypatch.setattr("aftrans_jax.weights.pytorch._MAX_ENTRIES", 3)
    tree = {"w": whole("0", SMALL), "dict": {"x": whole("0", SMALL)}}
    write_torch(path, tree, {"0": SMALL})
    assert list(read(path)) == ["w", "dict/x"]
    write_torch(path, tree | {"v": whole("0", SMALL)}, {"0": SMALL})
    with pytest.raises(ValueError, match="holds more than 3 arrays"):
        read(path)


def test_tied_weights_are_read_and_a_multiple_of_the_file_is_not(path):
    base = np.arange(10_000, dtype="f4")
    write_torch(path, {str(i): whole("0", base) for i in range(2)}, {"0": base})
    assert all((array == base).all() for array in read(path).values())
    write_torch(path, {str(i): whole("0", base) for i in range(3)}, {"0": base})
    with pytest.raises(
        ValueError, match=r"its arrays share storages: they have 120,000 bytes, the"
    ):
        read(path)


def test_damaged_and_foreign_zips_are_refused(path):
    tree = {"w": whole("0", SMALL)}
    write_torch(path, tree, {"0": SMALL}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed or encrypted, which PyTorch never does"):
        read(path)
    write_torch(path, tree, {"0": SMALL}, extra=[("byteorder", b"big")])
    with pytest.raises(ValueError, match="on a big-endian machine"):
        read(path)
    write_torch(path, {"epoch": 3}, {})
    with pytest.raises(ValueError, match=r"holds no arrays: expected torch\.save"):
        read(path)
    write_torch(path, {"w": Raw(b"}" * MAX_BYTES)}, {"0": SMALL})
    with pytest.raises(ValueError, match=r"data\.pkl is absent or has more than 4,000,000"):
        read(path)


def test_a_cut_file_is_refused_wherever_it_is_cut(path, rng):
    array = rng.normal(size=(5, 4)).astype("f4")
    write_torch(path, {"w": whole("0", array)}, {"0": array})
    data = path.read_bytes()
    for end in rng.integers(70, len(data), 30):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"x\.pth': cannot be read as a PyTorch file"):
            read(path)


def test_flipped_bits_are_equal_arrays_or_one_named_error(path, rng):
    array = rng.normal(size=(5, 4)).astype("f4")
    write_torch(path, {"w": whole("0", array)}, {"0": array})
    data, refused = path.read_bytes(), 0
    for bit in rng.integers(0, 8 * len(data), 300):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        try:
            with naming(path), open_torch(path) as stored:
                found = {name: np.asarray(x) for name, x in stored.items()}
        except ValueError:
            refused += 1
        else:
            assert list(found) == ["w"]
            np.testing.assert_array_equal(found["w"], array)
    assert refused > 100


def test_deep_nesting_and_cycles_end(path):
    cycle = Raw(b"}q\1" + text("again") + b"h\1s")
    write_torch(
        path, {"w": whole("0", SMALL), "c": cycle, "d": Raw(b"]" + b"\x85" * 20_000)}, {"0": SMALL}
    )
    assert list(read(path)) == ["w"]
