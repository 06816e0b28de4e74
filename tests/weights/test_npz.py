"""npz <-> parameters: names, the position resize against scipy, and every way a file can be bad."""

import io
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.ndimage
import tiny
from flax.traverse_util import flatten_dict, unflatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.weights.fitting import HEAD, POSITIONS, fit_to_model, resize_positions
from aftrans_jax.weights.npz import read_npz, save_npz

FEW = settings(deadline=None, max_examples=30)
DEIT_MEAN, DEIT_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def official_names(num_layers: int) -> set[str]:
    """The names of METHOD section 4, written out."""
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


def shapes_of(model: ViT):
    images = np.zeros((1, model.image_size, model.image_size, 3), np.uint8)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]


@pytest.fixture(scope="module")
def expected():
    """The shapes of the tiny trunk: 3 layers, 7 x 7 patches, 5 classes."""
    return shapes_of(tiny.tiny_vit())


@pytest.fixture
def arrays(expected, rng) -> dict[str, np.ndarray]:
    """A file's content that fits the tiny trunk as it is."""
    flat = flatten_dict(expected, sep="/")
    return {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in flat.items()}


def assert_same(tree, arrays):
    flat = flatten_dict(tree, sep="/")
    assert flat.keys() == arrays.keys()
    for name, array in arrays.items():
        assert flat[name].dtype == np.float32
        np.testing.assert_array_equal(flat[name], array, err_msg=name)


def test_the_model_has_exactly_the_official_names(expected):
    assert set(flatten_dict(expected, sep="/")) == official_names(tiny.VARIANT.layers)


def test_round_trip_is_bit_exact(tmp_path, expected, arrays):
    save_npz(tmp_path / "x.npz", unflatten_dict(arrays, sep="/"))
    with np.load(tmp_path / "x.npz") as file:
        assert set(file.files) == official_names(tiny.VARIANT.layers)
    params, notes = fit_to_model(read_npz(tmp_path / "x.npz"), expected)
    assert notes == ()
    assert_same(params, arrays)


def test_the_real_file_has_exactly_the_official_names(real):
    assert set(read_npz(real / "deit_tiny_patch16_224.npz")) == official_names(12)


def test_the_real_file_at_448_stride_12_and_back(real, tmp_path):
    arrays = read_npz(real / "deit_tiny_patch16_224.npz")
    model = ViT(VARIANTS["ti16"], 1000, 448, 12, "exact", DEIT_MEAN, DEIT_STD)
    params, notes = fit_to_model(arrays, shapes_of(model))
    assert notes == ("position embedding resized from (1, 197, 192) to (1, 1370, 192)",)
    positions = arrays[POSITIONS]
    grid = positions[0, 1:].reshape(14, 14, 192)
    zoomed = scipy.ndimage.zoom(grid, (37 / 14, 37 / 14, 1), order=1).reshape(1, 37 * 37, 192)
    wanted = np.concatenate([positions[:, :1], zoomed], axis=1)
    assert_same(params, {**arrays, POSITIONS: wanted})
    save_npz(tmp_path / "x.npz", params)
    again = fit_to_model(read_npz(tmp_path / "x.npz"), shapes_of(model))
    assert again.notes == ()
    assert_same(again.params, flatten_dict(params, sep="/"))


# ------------------------------------------------------------------------------ position embedding


def test_resize_of_2_to_3_by_hand():
    positions = np.array([[[9.0], [0.0], [2.0], [4.0], [10.0]]], np.float32)
    resized = resize_positions(positions, 10)
    # Corners stay, edges are means of two, the middle is the mean of all four.
    np.testing.assert_array_equal(resized[0, :, 0], [9, 0, 1, 2, 2, 4, 6, 4, 7, 10])


@FEW
@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_resize_is_corner_aligned_bilinear(old, new, hidden, seed):
    """Against separable `np.interp`, and against scipy's zoom called as the reference code does."""
    positions = np.random.default_rng(seed).normal(size=(1, 1 + old**2, hidden)).astype(np.float32)
    resized = resize_positions(positions, 1 + new**2)
    assert resized.shape == (1, 1 + new**2, hidden)
    np.testing.assert_array_equal(resized[:, 0], positions[:, 0])
    grid = positions[0, 1:].reshape(old, old, hidden)
    zoomed = scipy.ndimage.zoom(grid, (new / old, new / old, 1), order=1)
    np.testing.assert_array_equal(resized[0, 1:], zoomed.reshape(-1, hidden))
    at = np.linspace(0, old - 1, new)

    def interpolate(line):
        return np.interp(at, np.arange(old), line)

    by_hand = np.apply_along_axis(interpolate, 0, grid.astype(np.float64))
    by_hand = np.apply_along_axis(interpolate, 1, by_hand)
    np.testing.assert_allclose(resized[0, 1:], by_hand.reshape(-1, hidden), atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [(7, 10), (10, 7), (198, 197), (3, 5)])
def test_positions_that_are_no_square_grid_are_refused(old, new):
    message = f"of {old} tokens cannot become {new}: both must be a square grid of patches and one"
    with pytest.raises(ValueError, match=message):
        resize_positions(np.zeros((1, old, 2), np.float32), new)


def test_a_distilled_file_s_extra_token_is_refused(expected, arrays):
    arrays[POSITIONS] = np.zeros((1, 51, 12), np.float32)
    with pytest.raises(ValueError, match="of 51 tokens cannot become 50"):
        fit_to_model(arrays, expected)


# ---------------------------------------------------------------------------------- what may differ


def test_pre_logits_is_dropped_and_noted(expected, arrays):
    extra = {"pre_logits/kernel": np.ones((12, 12)), "pre_logits/bias": np.ones(12)}
    params, notes = fit_to_model({**arrays, **extra}, expected)
    assert notes == ("dropped pre_logits: the head follows the class token directly",)
    assert_same(params, arrays)


@pytest.mark.parametrize("found", [7, 1, None])
def test_another_head_is_left_to_the_caller(expected, arrays, found):
    trunk = {name: array for name, array in arrays.items() if name not in HEAD}
    head = (
        {}
        if found is None
        else dict(zip(HEAD, (np.ones((12, found)), np.ones(found)), strict=True))
    )
    params, notes = fit_to_model({**trunk, **head}, expected)
    assert notes == (f"new head for 5 classes (the file has {found or 'none'})",)
    assert_same(params, trunk)


@pytest.mark.parametrize("kind", ["float16", "float64", "int32", ">f4"])
def test_every_real_number_type_becomes_float32(tmp_path, expected, rng, kind):
    """Positions are interpolated as floats, whatever they were stored as."""
    flat = flatten_dict(expected, sep="/")
    stored = {name: rng.integers(-9, 9, leaf.shape).astype(kind) for name, leaf in flat.items()}
    stored[POSITIONS] = rng.integers(-9, 9, (1, 5, 12)).astype(kind)
    np.savez(tmp_path / "x.npz", **stored)
    params, _ = fit_to_model(read_npz(tmp_path / "x.npz"), expected)
    as_float = {name: array.astype(np.float32) for name, array in stored.items()}
    assert_same(params, {**as_float, POSITIONS: resize_positions(as_float[POSITIONS], 50)})
    middle = params["Transformer"]["posembed_input"]["pos_embedding"][0, 1:].reshape(7, 7, 12)[3, 3]
    np.testing.assert_allclose(middle, as_float[POSITIONS][0, 1:].mean(0), atol=1e-6)


def test_the_caller_s_arrays_stay_as_they_are(expected, arrays):
    arrays |= {"pre_logits/bias": np.ones(12), POSITIONS: np.ones((1, 5, 12), np.float32)}
    before = {name: array.copy() for name, array in arrays.items()}
    fit_to_model(arrays, expected)
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
        fit_to_model(arrays, expected)
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
        fit_to_model(arrays, expected)


def test_absent_positions_are_listed(expected, arrays):
    del arrays[POSITIONS]
    with pytest.raises(ValueError, match="missing: Transformer/posembed_input/pos_embedding"):
        fit_to_model(arrays, expected)


def test_long_lists_are_cut(expected):
    with pytest.raises(ValueError, match=r"missing: .* and 46 more\. Check model\.variant"):
        fit_to_model({}, expected)  # 56 names, 2 of them the head's


def test_non_finite_arrays_are_all_named(tmp_path):
    bad = {"nan": np.array([0, np.nan]), "inf": np.array([[np.inf]]), "fine": np.ones(3)}
    np.savez(tmp_path / "x.npz", **bad, minus=np.float32(-np.inf), scalar=np.float32(1))
    with pytest.raises(ValueError, match="non-finite numbers in inf, minus, nan: the file is dam"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([1j]), np.array([b"ab"], "V2")])
def test_what_is_no_real_number_is_named(tmp_path, value):
    np.savez(tmp_path / "x.npz", fine=np.ones(2), odd=value)
    with pytest.raises(ValueError, match=rf"not of real numbers: odd \({value.dtype}\)\. Save"):
        read_npz(tmp_path / "x.npz")


def npz_bytes(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_bytes() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


def flipped() -> bytes:
    data = bytearray(npz_bytes(a=np.ones((50, 50))))
    data[5000] ^= 0xFF
    return bytes(data)


BROKEN = {
    "empty": (b"", "it is no npz file, or only the beginning of one"),
    "text": (b"<html>404</html>\n", "it is no npz file, or only the beginning of one"),
    "truncated": (npz_bytes(a=np.ones((50, 50)))[:9000], "or only the beginning of one"),
    "a single array": (npy_bytes(), "it is no npz file"),
    "flipped bit": (flipped(), r"Bad CRC-32 for file 'a\.npy'"),
    "pickled": (npz_bytes(a=np.array([{}], object)), "allow_pickle=False"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_the_reason(tmp_path, kind):
    data, reason = BROKEN[kind]
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(
        ValueError, match=rf"x\.npz' cannot be read as .*{reason}.*: download it ag"
    ):
        read_npz(tmp_path / "x.npz")


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_pickle_is_never_run(tmp_path):
    marker = tmp_path / "unpickled"
    np.savez(tmp_path / "x.npz", a=np.array([Bomb(marker)], object))
    with pytest.raises(ValueError, match="plain arrays"):
        read_npz(tmp_path / "x.npz")
    assert not marker.exists()
    with np.load(tmp_path / "x.npz", allow_pickle=True) as file:
        assert file["a"] is not None
    assert marker.exists()  # so the bomb was live


def test_a_zip_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("readme.txt", "no array")
    with pytest.raises(ValueError, match=r"not of real numbers: readme\.txt"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["absent.npz", "."])
def test_an_absent_file_is_named_with_the_remedy(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"is not a file\. Official ViT files: https://"):
        read_npz(tmp_path / name)
