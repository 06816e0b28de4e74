"""npz <-> parameters: names, the position resize against scipy, and every way a file can be bad."""

import builtins
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import scipy.ndimage
from flax.traverse_util import flatten_dict, unflatten_dict
from hypothesis import example, given, settings
from hypothesis import strategies as st
from npz_file import read_npz
from tiny import VARIANT, assert_same, param_shapes

from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.weights.arrays import StoredArray
from aftrans_jax.weights.fitting import HEAD, fit_to_model, resize_positions, sizes
from aftrans_jax.weights.layouts import POSITIONS
from aftrans_jax.weights.npz import open_npz, save_npz

FEW = settings(deadline=None, max_examples=30)
DEIT_MEAN, DEIT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def official_names(num_layers: int) -> set[str]:
    """The names in the official files, written out."""
    names = {"cls", "Transformer/posembed_input/pos_embedding"}
    modules = ["embedding", "head"]
    for i in range(num_layers):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        modules += [f"{attention}/{part}" for part in ("query", "key", "value", "out")]
        modules += [f"{block}/MlpBlock_3/{part}" for part in ("Dense_0", "Dense_1")]
        norms = [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
        names |= {f"{norm}/{part}" for norm in norms for part in ("scale", "bias")}
    names |= {f"Transformer/encoder_norm/{part}" for part in ("scale", "bias")}
    return names | {f"{module}/{part}" for module in modules for part in ("kernel", "bias")}


def test_the_model_has_exactly_the_official_names(expected):
    assert set(flatten_dict(expected, sep="/")) == official_names(VARIANT.layers)


def test_round_trip_is_bit_exact(tmp_path, expected, arrays):
    save_npz(tmp_path / "x.npz", unflatten_dict(arrays, sep="/"))
    with np.load(tmp_path / "x.npz") as file:
        assert set(file.files) == official_names(VARIANT.layers)
    params, notes, _ = fit_to_model(read_npz(tmp_path / "x.npz"), expected, keep_head=True)
    assert notes == ()
    assert_same(params, arrays)


def test_a_file_that_counts_its_members_in_64_bits_is_read(tmp_path, monkeypatch, arrays):
    """As in files beyond 4 GB; the end record may also count them, or hold only ones."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    data = path.read_bytes()
    assert data[-42:-38] == b"PK\x06\x07"  # the 64-bit end's place
    for counts in (data[-14:-10], b"\xff\xff\xff\xff"):
        path.write_bytes(data[:-14] + counts + data[-10:])
        found = read_npz(path)
        assert found.keys() == arrays.keys()


def test_the_real_file_has_exactly_the_official_names(real):
    assert set(read_npz(real / "deit_tiny_patch16_224.npz")) == official_names(12)


def test_the_real_file_at_448_stride_12_and_back(real, tmp_path):
    arrays = read_npz(real / "deit_tiny_patch16_224.npz")
    model = ViT(VARIANTS["ti16"], 1000, 448, 12, "exact", DEIT_MEAN, DEIT_STD)
    params, notes, as_stored = fit_to_model(arrays, param_shapes(model), keep_head=True)
    assert notes == ("position embedding resized from (1, 197, 192) to (1, 1370, 192)",)
    positions = arrays[POSITIONS]
    np.testing.assert_array_equal(as_stored, positions)
    grid = positions[0, 1:].reshape(14, 14, 192)
    zoomed = scipy.ndimage.zoom(grid, (37 / 14, 37 / 14, 1), order=1).reshape(1, 37 * 37, 192)
    wanted = np.concatenate([positions[:, :1], zoomed], axis=1)
    assert_same(params, {**arrays, POSITIONS: wanted})
    save_npz(tmp_path / "x.npz", params)
    again = fit_to_model(read_npz(tmp_path / "x.npz"), param_shapes(model), keep_head=True)
    assert again.notes == ()
    assert_same(again.params, flatten_dict(params, sep="/"))


# ------------------------------------------------------------------------------ position embedding


def test_resize_of_2_to_3_by_hand():
    positions = np.array([[[9.0], [0.0], [2.0], [4.0], [10.0]]], np.float32)
    resized = resize_positions(positions, 10)
    # Corners stay, edges are means of two, the middle is the mean of all four.
    np.testing.assert_array_equal(resized[0, :, 0], [9, 0, 1, 2, 2, 4, 6, 4, 7, 10])


@FEW
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 3), st.integers(0, 2**32 - 1))
@example(24, 22, 1, 0)  # of these four scipy's zoom, as the reference code calls it, rounds the
@example(28, 14, 1, 0)  # last coordinate beyond the grid and fills the last row with zeros
@example(16, 30, 1, 0)
@example(32, 16, 1, 0)
def test_resize_is_corner_aligned_bilinear(old, new, hidden, seed):
    """Against separable `np.interp`; but at the ends as the reference code, with scipy's zoom."""
    positions = np.random.default_rng(seed).normal(size=(1, 1 + old**2, hidden)).astype(np.float32)
    resized = resize_positions(positions, 1 + new**2)
    assert resized.shape == (1, 1 + new**2, hidden)
    np.testing.assert_array_equal(resized[:, 0], positions[:, 0])
    grid = positions[0, 1:].reshape(old, old, hidden)
    zoomed = scipy.ndimage.zoom(grid, (new / old, new / old, 1), order=1)
    inner = resized[0, 1:].reshape(new, new, hidden)[: new - 1, : new - 1]
    np.testing.assert_array_equal(inner, zoomed[: new - 1, : new - 1])
    at = np.linspace(0, old - 1, new)

    def interpolate(line):
        return np.interp(at, np.arange(old), line)

    by_hand = np.apply_along_axis(interpolate, 0, grid.astype(np.float64))
    by_hand = np.apply_along_axis(interpolate, 1, by_hand)
    np.testing.assert_allclose(resized[0, 1:], by_hand.reshape(-1, hidden), atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [(7, 10), (10, 7), (198, 197), (3, 5), (0, 5), (1, 5)])
def test_positions_that_are_no_square_grid_are_refused(old, new):
    message = f"of {old} tokens cannot become {new}: both must be a square grid of patches and one"
    with pytest.raises(ValueError, match=message):
        resize_positions(np.zeros((1, old, 2), np.float32), new)


def test_a_distilled_file_s_extra_token_is_refused(expected, arrays):
    arrays[POSITIONS] = np.zeros((1, 51, 12), np.float32)
    with pytest.raises(ValueError, match="of 51 tokens cannot become 50"):
        fit_to_model(arrays, expected, keep_head=True)


# ---------------------------------------------------------------------------------- what may differ


def test_pre_logits_is_dropped_and_noted(expected, arrays):
    extra = {"pre_logits/kernel": np.ones((12, 12)), "pre_logits/bias": np.ones(12)}
    params, notes, _ = fit_to_model({**arrays, **extra}, expected, keep_head=False)
    assert notes[0] == "dropped pre_logits: the head follows the class token directly"
    assert_same(params, {name: array for name, array in arrays.items() if name not in HEAD})
    with pytest.raises(ValueError, match="'keep': the file's head follows a layer pre_logits"):
        fit_to_model({**arrays, **extra}, expected, keep_head=True)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (7, "one for 7"),
        (1, "one for 1"),
        (None, "none"),
        (5, "one for 5; pretrained_head=keep would keep it"),
    ],
)
def test_the_head_is_left_to_the_caller_whatever_its_classes(expected, arrays, found, said):
    trunk = {name: array for name, array in arrays.items() if name not in HEAD}
    head = (
        {}
        if found is None
        else dict(zip(HEAD, (np.ones((12, found)), np.ones(found)), strict=True))
    )
    params, notes, _ = fit_to_model({**trunk, **head}, expected, keep_head=False)
    assert notes == (f"new head for 5 classes (the file has {said})",)
    assert_same(params, trunk)


@pytest.mark.parametrize(("found", "said"), [(7, "one for 7"), (None, "none")])
def test_a_head_that_is_wanted_must_be_for_the_same_classes(expected, arrays, found, said):
    for name in HEAD:
        del arrays[name]
    if found:
        arrays |= dict(zip(HEAD, (np.ones((12, found)), np.ones(found)), strict=True))
    with pytest.raises(ValueError, match=f"the data has 5 classes, the file's head is {said}: exp"):
        fit_to_model(arrays, expected, keep_head=True)


@pytest.mark.parametrize("kind", ["float16", "float64", ">f4"])
def test_every_floating_point_type_becomes_float32(tmp_path, expected, rng, kind):
    """Positions are interpolated as floats, whatever they were stored as."""
    flat = flatten_dict(expected, sep="/")
    stored = {name: rng.integers(-9, 9, leaf.shape).astype(kind) for name, leaf in flat.items()}
    stored[POSITIONS] = rng.integers(-9, 9, (1, 5, 12)).astype(kind)
    np.savez(tmp_path / "x.npz", **stored)
    with open_npz(tmp_path / "x.npz") as lazy:
        params = fit_to_model(lazy, expected, keep_head=True).params
    as_float = {name: array.astype(np.float32) for name, array in stored.items()}
    assert_same(params, {**as_float, POSITIONS: resize_positions(as_float[POSITIONS], 50)})
    middle = params["Transformer"]["posembed_input"]["pos_embedding"][0, 1:].reshape(7, 7, 12)[3, 3]
    np.testing.assert_allclose(middle, as_float[POSITIONS][0, 1:].mean(0), atol=1e-6)


def test_the_caller_s_arrays_stay_as_they_are(expected, arrays):
    arrays |= {"pre_logits/bias": np.ones(12), POSITIONS: np.ones((1, 5, 12), np.float32)}
    before = {name: array.copy() for name, array in arrays.items()}
    fit_to_model(arrays, expected, keep_head=False)
    assert arrays.keys() == before.keys()
    assert all(np.array_equal(arrays[name], before[name]) for name in before)


# ---------------------------------------------------------------------------------- what is refused


def test_one_error_lists_everything_that_does_not_fit(expected, arrays):
    del arrays["cls"], arrays["Transformer/encoder_norm/bias"]
    arrays["Transformer/encoderblock_3/LayerNorm_0/bias"] = np.zeros(12)
    arrays["embedding/kernel"] = np.zeros((16, 16, 3, 12))
    arrays["embedding/bias"] = np.float32(1)  # a scalar
    arrays[POSITIONS] = np.zeros((1, 5, 8))  # neither is its width the model's
    with pytest.raises(ValueError, match="does not fit the model") as caught:
        fit_to_model(arrays, expected, keep_head=True)
    assert str(caught.value) == (
        "the file does not fit the model; "
        "missing: Transformer/encoder_norm/bias, cls; "
        "not expected: Transformer/encoderblock_3/LayerNorm_0/bias; "
        "of another shape: Transformer/posembed_input/pos_embedding (1, 5, 8) instead of "
        "(1, 50, 12), embedding/bias () instead of (12,), "
        "embedding/kernel (16, 16, 3, 12) instead of (4, 4, 3, 12). "
        "Check model.variant against the file"
    )


@pytest.mark.parametrize("shape", [(), (50,), (50, 12), (2, 5, 12), (1, 5, 12, 1)])
def test_positions_of_another_rank_are_listed(expected, arrays, shape):
    arrays[POSITIONS] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match="of another shape: Transformer/posembed_input"):
        fit_to_model(arrays, expected, keep_head=True)


def test_absent_positions_are_listed(expected, arrays):
    del arrays[POSITIONS]
    with pytest.raises(ValueError, match="missing: Transformer/posembed_input/pos_embedding"):
        fit_to_model(arrays, expected, keep_head=True)


@pytest.mark.parametrize(
    ("query", "heads"),
    [
        ((12, 3, 4), 3),
        ((12, 12, 1), 12),
        ((12, 13, 0), None),
        ((12, 13, 1), None),
        ((12, 12), None),
    ],
)
def test_the_sizes_are_those_of_a_vit_or_unknown(query, heads):
    block = "Transformer/encoderblock_0"
    shapes = {
        "embedding/kernel": (4, 4, 3, 12),
        f"{block}/MlpBlock_3/Dense_0/kernel": (12, 20),
        f"{block}/MultiHeadDotProductAttention_1/query/kernel": query,
    }
    found = sizes({name: np.empty(shape) for name, shape in shapes.items()})
    assert found == (heads and VARIANT._replace(layers=1, heads=heads))


def test_long_lists_are_cut(expected):
    with pytest.raises(ValueError, match=r"missing: .* and 46 more\. Check model\.variant"):
        fit_to_model({}, expected, keep_head=False)  # 56 names, 2 of them the head's


def test_non_finite_arrays_are_all_named(tmp_path):
    bad = {"nan": np.array([0, np.nan]), "inf": np.array([[np.inf]]), "fine": np.ones(3)}
    np.savez(tmp_path / "x.npz", **bad, minus=np.float32(-np.inf), scalar=np.float32(1))
    with pytest.raises(ValueError, match="non-finite numbers in inf, minus, nan: the file is dam"):
        read_npz(tmp_path / "x.npz")


def test_a_file_of_zeros_is_no_trained_model(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(2), b=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="every number is 0: the file is damaged, download it ag"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "value", [np.array(["a"]), np.array([1j]), np.array([1]), np.array([b"abc"], "V3")]
)
def test_what_is_no_floating_point_number_is_named(tmp_path, value):
    np.savez(tmp_path / "x.npz", fine=np.ones(2), odd=value)
    with pytest.raises(
        ValueError, match=rf"not of floating-point numbers: odd \({value.dtype}\)\. Save"
    ):
        read_npz(tmp_path / "x.npz")


def test_numbers_that_float32_does_not_hold_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", big=np.array([1e39]), fine=np.array([1e38]), nan=np.float32("nan"))
    message = "non-finite numbers in nan; numbers beyond float32 in big: the file is damaged"
    with pytest.raises(ValueError, match=message):
        read_npz(tmp_path / "x.npz")


def test_bfloat16_as_numpy_stores_it_is_read(tmp_path, rng):
    values = rng.normal(size=(3, 5)).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "x.npz", a=values, scalar=values[0, 0])
    read = read_npz(tmp_path / "x.npz")
    assert read["a"].dtype == np.float32
    np.testing.assert_array_equal(read["a"], values.astype(np.float32))
    np.testing.assert_array_equal(read["scalar"], values[0, 0].astype(np.float32))


def npz_bytes(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def flipped() -> bytes:
    data = bytearray(npz_bytes(a=np.ones((50, 50))))
    data[5000] ^= 0xFF
    return bytes(data)


def with_member(data: bytes, name="a.npy", compression=zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file of one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(name, data)
    return buffer.getvalue()


def npy(shape="(2,)", descr="'<f4'", body=bytes(8), text=None, version=b"\x01\x00") -> bytes:
    """A npy file with a header as it is given."""
    text = (
        f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}" if text is None else text
    )
    length = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + text.encode() + body


def edited(data: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert old in data
    return data.replace(old, new)


def encrypted() -> bytes:
    data = bytearray(npz_bytes(a=np.ones(3)))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def of_compression(number: int) -> bytes:
    data = bytearray(npz_bytes(a=np.ones(3)))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(signature) + offset] = number
    return bytes(data)


def promising(sizes: bytes) -> bytes:
    """A member whose entry in the central directory promises other sizes."""
    data = bytearray(npz_bytes(a=np.ones(3)))
    at = data.index(b"PK\x01\x02") + 20
    data[at : at + 8] = sizes
    return bytes(data)


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.npy", npy(body=np.ones(2, np.float32).tobytes()))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", npy())
    return buffer.getvalue()


def hidden() -> bytes:
    """The second member passes for the comment on the first."""
    data = bytearray(npz_bytes(a=1.0, b=1.0))
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    data[first + 32] = len(data) - 22 - second
    return bytes(data)


SIZES = "the header of a is of .* bytes, its entry of"
BROKEN = {
    "truncated": (lambda: npz_bytes(a=np.ones((50, 50)))[:9000], "it is only the beginning of one"),
    "flipped bit": (flipped, r"Bad CRC-32 for file 'a\.npy'"),
    "pickled": (lambda: npz_bytes(a=np.array([{}], object)), "a holds pickled Python objects"),
    "encrypted": (encrypted, "a is encrypted"),
    "lzma": (lambda: with_member(npy(), compression=zipfile.ZIP_LZMA), "a has compression 14"),
    "unknown compression": (lambda: of_compression(99), "a has compression 99"),
    "terabytes in the header": (lambda: with_member(npy(shape=f"({10**13},)")), SIZES),
    "negative": (lambda: with_member(npy(shape="(-2,)")), SIZES),
    "more than the file": (lambda: promising(b"\xfe\xff\xff\xff" * 2), "promises 4294967294"),
    "a bomb": (lambda: promising((200).to_bytes(4, "little") + b"\xfe\xff\xff\xff"), "a promises"),
    "no brace": (lambda: with_member(npy(text="'descr': '<f4', (")), "EOF in multi-line"),
    "half a text": (lambda: with_member(npy(text="{'descr': '<f4")), "EOF in multi-line"),
    "nested": (lambda: with_member(npy(shape="(" * 900 + ")" * 900)), "."),
    "no dtype": (lambda: with_member(npy(descr="'<q9'")), "descr is not a valid dtype"),
    "odd literal": (lambda: with_member(npy(shape="(2or 1,)")), "."),
    "version": (lambda: with_member(npy(version=b"\x02\x00")), r"npy version \(2, 0\), expected"),
    "no magic": (lambda: with_member(b"x" * 90), "magic string is not correct"),
    "shorter": (lambda: with_member(npy(body=bytes(7))), SIZES),
    "longer": (lambda: with_member(npy(body=bytes(9))), SIZES),
    "empty member": (lambda: with_member(b""), "EOF"),
    "another file in it": (lambda: edited(npz_bytes(a=1.0, b=1.0), b"b.npy", b"b.txt"), "no array"),
    "twice": (twice, "it holds a twice"),
    "hidden": (hidden, "its list of 1 members does not end as it says"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_error_with_the_reason(tmp_path, kind):
    data, reason = BROKEN[kind]
    (tmp_path / "x.npz").write_bytes(data())
    with pytest.raises(
        ValueError, match=rf"x\.npz': cannot be read as .*{reason}.*: download it ag"
    ):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "kind", ["OverflowError", "MemoryError", "RuntimeError", "struct.error", "KeyError"]
)
def test_whatever_a_parser_raises_is_that_error(tmp_path, monkeypatch, kind):
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    exception = struct.error if kind == "struct.error" else getattr(builtins, kind)

    def broken(*args, **kwargs):
        raise exception

    monkeypatch.setattr(np.lib.format, "read_array", broken)
    with pytest.raises(
        ValueError, match=rf"cannot be read as .*\({exception.__name__}\): download"
    ):
        read_npz(tmp_path / "x.npz")


def test_a_surplus_array_is_refused_from_its_header(tmp_path, expected, arrays):
    """It has 400 MB in a file of 0.4 MB."""
    np.savez_compressed(tmp_path / "x.npz", **arrays, surplus=np.zeros((10**7, 10), np.float32))
    assert (tmp_path / "x.npz").stat().st_size < 2**20
    tracemalloc.start()
    try:
        with (
            open_npz(tmp_path / "x.npz") as lazy,
            pytest.raises(ValueError, match="ected: surplus"),
        ):
            fit_to_model(lazy, expected, keep_head=True)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_arrays_that_are_left_out_are_not_read(expected, arrays):
    head = arrays["head/kernel"]
    arrays["head/kernel"] = StoredArray(head.shape, head.dtype, lambda: pytest.fail("it was read"))
    assert "head" not in fit_to_model(arrays, expected, keep_head=False).params
    with pytest.raises(pytest.fail.Exception, match="it was read"):
        fit_to_model(arrays, expected, keep_head=True)


def test_names_of_arrays_are_escaped(tmp_path):
    np.savez(tmp_path / "x.npz", **{"\x1b]0;title\x07": np.array([1])})
    with pytest.raises(ValueError, match="numbers: ") as caught:
        read_npz(tmp_path / "x.npz")
    assert r"numbers: \x1b]0;title\x07 (int64)" in str(caught.value)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_pickle_is_never_run(tmp_path):
    marker = tmp_path / "unpickled"
    np.savez(tmp_path / "x.npz", a=np.array([Bomb(marker)], object))
    with pytest.raises(ValueError, match="pickled Python objects"):
        read_npz(tmp_path / "x.npz")
    assert not marker.exists()
    with np.load(tmp_path / "x.npz", allow_pickle=True) as file:
        assert file["a"] is not None
    assert marker.exists()  # so the bomb was live


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.npz", r"is not a file: .*, such as imagenet21k/ViT-B_16"),
        (
            ".",
            r"is a folder without weights: expected model\.safetensors or ",
        ),
    ],
)
def test_an_absent_file_is_named_with_the_remedy(tmp_path, name, said):
    with pytest.raises(FileNotFoundError, match=said):
        read_npz(tmp_path / name)
