"""Operations against numpy and by hand, boxes against painted pixels, the draws counted."""

from collections import Counter
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import example as also
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading import autoaugment
from aftrans_jax.data.loading.autoaugment import OPERATIONS, POLICY, auto_augment

FEW = settings(deadline=None, max_examples=25)
NO_BOX = np.full(4, np.nan, np.float32)
SIGNED = {"shear_x", "color", "contrast", "sharpness"}
CHANGES = [-0.9, -0.4, 0.0, 0.2, 0.8]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def applied(name, image, level=0.0):
    return np.asarray(OPERATIONS[name].apply(Image.fromarray(image), float(level)))


def grey_of(image):
    return image @ np.array([0.299, 0.587, 0.114])


def centres(height, width):
    """The places of the pixels' centres: rows, columns."""
    return np.mgrid[:height, :width] + 0.5


# ----------------------------------------------------------------------------------- the operations


@pytest.mark.parametrize(("bits", "step"), [(8, 1), (7, 2), (6, 4), (5, 8), (4, 16)])
def test_posterize_keeps_the_high_bits(bits, step):
    image = noise(9, 7)
    np.testing.assert_array_equal(applied("posterize", image, bits), image // step * step)


@pytest.mark.parametrize("threshold", [256, 1024 / 9, 128, 0])
def test_solarize_inverts_what_is_not_below_the_threshold(threshold):
    image = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    expected = np.where(image < threshold, image, 255 - image)
    np.testing.assert_array_equal(applied("solarize", image, threshold), expected)


def test_invert():
    image = noise(9, 7)
    np.testing.assert_array_equal(applied("invert", image), 255 - image)


def test_autocontrast_stretches_every_channel_by_itself():
    image = np.array([[[10, 100, 7], [20, 151, 7], [35, 117, 7], [61, 134, 7]]], np.uint8)
    golden = [[[0, 0, 7], [50, 255, 7], [125, 85, 7], [255, 170, 7]]]  # one value stays as it is
    np.testing.assert_array_equal(applied("autocontrast", image), golden)


def test_equalize_spreads_the_ranks():
    channel = np.repeat(np.array([50, 60, 61], np.uint8), [255, 255, 100])  # 2 ranks a grey level
    image = np.stack([channel, channel[::-1], np.full_like(channel, 9)], axis=-1).reshape(10, 61, 3)
    spread = np.repeat([0, 128, 255], [255, 255, 100])
    golden = np.stack([spread, spread[::-1], np.full_like(spread, 9)], axis=-1)
    np.testing.assert_array_equal(applied("equalize", image).reshape(-1, 3), golden)


@pytest.mark.parametrize("change", CHANGES)
def test_color_moves_away_from_grey(change):
    image = noise(20, 30)
    grey = np.floor(grey_of(image) + 0.5)[..., None]
    expected = np.clip(grey + (1 + change) * (image - grey), 0, 255)
    assert np.abs(applied("color", image, change) - expected).max() <= 2


@pytest.mark.parametrize("change", CHANGES)
def test_contrast_moves_away_from_the_mean_grey(change):
    image = noise(20, 30) // 2
    mean = np.floor(grey_of(image).mean() + 0.5)
    expected = np.clip(mean + (1 + change) * (image - mean), 0, 255)
    assert np.abs(applied("contrast", image, change) - expected).max() <= 2


@pytest.mark.parametrize("change", CHANGES)
def test_sharpness_moves_away_from_the_smoothed_image(change):
    image = noise(20, 30).astype(float)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]])[..., None] / 13
    smooth = ndimage.convolve(image, kernel)
    expected = np.clip(smooth + (1 + change) * (image - smooth), 0, 255)[1:-1, 1:-1]
    result = applied("sharpness", image.astype(np.uint8), change)
    assert np.abs(result[1:-1, 1:-1] - expected).max() <= 2
    for edge in (np.s_[[0, -1]], np.s_[:, [0, -1]]):  # PIL smooths none of the border
        assert np.abs(result[edge] - image[edge]).max() <= 1


@pytest.mark.parametrize("slope", [-0.3, -0.1, 0.0, 1 / 6, 0.3])
def test_shear_moves_rows_and_fills_with_grey(slope):
    height, width = 24, 40
    ramp = np.broadcast_to(np.arange(width)[:, None] * 5, (height, width, 3)).astype(np.uint8)
    rows, cols = centres(height, width)
    source = cols + slope * rows
    result = applied("shear_x", ramp, slope)
    outside = (source < 0) | (source >= width)
    assert outside.any() == (slope != 0)
    assert (result[outside] == 128).all()
    inside = (source > 2) & (source < width - 2)
    wrong = np.abs(result[inside] - 5 * (source[inside] - 0.5)[:, None]).max()
    assert wrong <= 1.5  # 0.3 px of the ramp; the nearest pixel's would be 0.5 px


@pytest.mark.parametrize("degrees", [-20, 0, 10 / 3, 80 / 3, 30])
@pytest.mark.parametrize("shape", [(40, 60), (33, 21)])
def test_rotation_is_counter_clockwise_and_fills_with_grey(shape, degrees):
    image = noise(*shape)
    centre = np.array(shape)[:, None, None] / 2
    (up, right), angle = (centres(*shape) - centre) * [[[-1]], [[1]]], np.radians(degrees)
    source_right = np.cos(angle) * right + np.sin(angle) * up  # turned back, clockwise
    source_up = np.cos(angle) * up - np.sin(angle) * right
    rows, cols = (centre + np.stack([-source_up, source_right])) // 1
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    expected = np.full_like(image, 128)
    expected[inside] = image[rows[inside].astype(int), cols[inside].astype(int)]
    wrong = (applied("rotate", image, degrees) != expected).any(axis=-1)
    assert wrong.mean() < 0.002  # a centre may fall between two pixels
    assert inside.all() == (degrees == 0)


def test_a_quarter_turn():
    np.testing.assert_array_equal(applied("rotate", noise(6, 6), 90), np.rot90(noise(6, 6)))


SHAPES = [(1, 1), (1, 9), (8, 1), (2, 2), (13, 40)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_shape_and_type(name, shape):
    operation = OPERATIONS[name]
    for level in (operation.first, operation.last, -operation.last):
        if level >= 0 or operation.signed:
            result = applied(name, noise(*shape), level)
            assert (result.shape, result.dtype) == ((*shape, 3), np.uint8)


# ---------------------------------------------------------------------------------------- the boxes


def painted(height, width, box):
    top, left, bottom, right = box
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    return image


def check_box(box, image):
    """The box encloses the white pixels and, where nothing was cut off, little else."""
    shape = image.shape[:2]
    rows, cols = centres(*shape)[:, image[..., 0] > 200]
    assert (box >= 0).all()
    assert (box <= [*shape, *shape]).all()
    assert (box[:2] <= box[2:]).all()
    if len(rows):
        extent = np.array([rows.min(), cols.min(), rows.max(), cols.max()])
        outwards = (extent - box) * [1, 1, -1, -1]
        assert outwards.min() >= -1e-4
        cut = (box[:2] <= 0).any() or (box[2:] >= shape).any()
        assert cut or outwards.max() <= 2.5


@given(
    st.sampled_from([("rotate", 45.0), ("shear_x", 0.5)]),
    st.floats(-1, 1),
    st.tuples(st.integers(0, 36), st.integers(0, 56), st.integers(4, 20), st.integers(4, 20)),
)
@also(("rotate", 45.0), 0.6, (0, 0, 40, 60))
@also(("rotate", 45.0), -1.0, (15, 20, 10, 10))
@also(("shear_x", 0.5), 0.6, (20, 30, 10, 10))
@also(("shear_x", 0.5), -0.6, (25, 5, 10, 10))
@also(("shear_x", 0.5), 1.0, (35, 0, 5, 4))  # leaves the image
@FEW
def test_boxes_follow_what_they_enclose(kind, fraction, place):
    top, left, height, width = place
    box = np.array([top, left, min(top + height, 40), min(left + width, 60)])
    (name, most), image = kind, painted(40, 60, box)
    moved = OPERATIONS[name].move(box.astype(np.float32), fraction * most, Image.fromarray(image))
    assert moved.dtype == np.float32
    check_box(moved, applied(name, image, fraction * most))


def test_boxes_by_hand():
    picture, box = Image.new("RGB", (60, 40)), np.array([10, 20, 20, 30], np.float32)
    sheared = OPERATIONS["shear_x"].move(box, 0.5, picture)  # to the left, by 5 and by 10
    np.testing.assert_allclose(sheared, [10, 10, 20, 25])
    turned = OPERATIONS["rotate"].move(box, 90.0, picture)  # the centre is (20, 30)
    np.testing.assert_allclose(turned, [20, 20, 30, 30], atol=1e-5)
    for name in set(OPERATIONS) - {"shear_x", "rotate"}:
        np.testing.assert_array_equal(OPERATIONS[name].move(box, 0.3, picture), box)


@pytest.mark.parametrize("seed", range(4))
def test_the_example_has_the_box_of_its_operations(monkeypatch, seed):
    row = (("rotate", 1.0, 6), ("shear_x", 1.0, 7))
    monkeypatch.setattr(autoaugment, "POLICY", (row,))
    box = np.array([40, 50, 60, 65])
    start = Example(painted(90, 120, box), 3, box.astype(np.float32))
    result = auto_augment(start, np.random.default_rng(seed))
    turned = applied("rotate", start.image, 20)
    either = [applied("shear_x", turned, sign * 0.7 / 3) for sign in (-1, 1)]
    assert min(np.abs(result.image.astype(int) - image).max() for image in either) <= 1
    assert np.abs(result.box - box).max() > 3
    rows, cols = centres(90, 120)[:, result.image[..., 0] > 200]
    assert (result.box[:2] <= [rows.min(), cols.min()]).all()
    assert (result.box[2:] >= [rows.max(), cols.max()]).all()


# ---------------------------------------------------------------------------------------- the draws


def test_the_table_is_the_published_one():
    assert len(POLICY) == 25
    assert POLICY[0] == (("posterize", 0.4, 8), ("rotate", 0.6, 9))
    assert POLICY[7] == (("posterize", 0.8, 5), ("equalize", 1.0, 2))
    assert POLICY[12] == (("equalize", 0.0, 7), ("equalize", 0.8, 8))
    assert POLICY[17] == (("sharpness", 0.4, 7), ("invert", 0.6, 8))
    assert POLICY[18] == (("shear_x", 0.6, 5), ("equalize", 1.0, 9))
    assert POLICY[20:] == tuple(POLICY[row] for row in (4, 1, 13, 14, 2))
    steps = [step for row in POLICY for step in row]
    names = Counter(name for name, _, _ in steps)
    assert set(names) == set(OPERATIONS)
    assert names.most_common(4) == [("equalize", 17), ("solarize", 7), ("rotate", 6), ("color", 6)]
    # The sums are torchvision's; it leaves out magnitudes that do nothing.
    assert sum(probability for _, probability, _ in steps) == pytest.approx(31)
    idle = ("equalize", "autocontrast", "invert")
    assert sum(magnitude for name, _, magnitude in steps if name not in idle) == 159


def test_the_tables_are_read_only():
    assert isinstance(OPERATIONS, MappingProxyType)
    assert isinstance(hash(POLICY), int)  # tuples all the way down


LEVELS = {  # at magnitudes 0, 5 and 9
    "shear_x": (0, 1 / 6, 0.3),
    "rotate": (0, 50 / 3, 30),
    "color": (0, 0.5, 0.9),
    "contrast": (0, 0.5, 0.9),
    "sharpness": (0, 0.5, 0.9),
    "posterize": (8, 52 / 9, 4),
    "solarize": (256, 1024 / 9, 0),
    **dict.fromkeys(["autocontrast", "equalize", "invert"], (0, 0, 0)),
}


@pytest.fixture
def calls(monkeypatch):
    """The operations of `auto_augment`, as (name, level), without applying them."""
    seen = []

    def recorder(name, operation):
        def apply(image, level):
            seen.append((name, level))
            return image

        return operation._replace(apply=apply)

    names = {**OPERATIONS, **{str(row): OPERATIONS["invert"] for row in range(len(POLICY))}}
    recorders = {name: recorder(name, operation) for name, operation in names.items()}
    monkeypatch.setattr(autoaugment, "OPERATIONS", recorders)
    return seen


def draw(monkeypatch, policy, times):
    monkeypatch.setattr(autoaugment, "POLICY", policy)
    rng = np.random.default_rng(0)
    for _ in range(times):
        auto_augment(Example(noise(1, 1), 0, NO_BOX), rng)


def test_every_row_is_drawn_equally_often(monkeypatch, calls):
    rows = tuple(((str(row), 1.0, 0), ("invert", 0.0, 0)) for row in range(len(POLICY)))
    draw(monkeypatch, rows, 2500)
    counts = [calls.count((str(row), 0)) for row in range(25)]
    assert sum(counts) == 2500
    assert min(counts) > 60  # 100 with a standard deviation of 10
    assert max(counts) < 140


def test_probabilities_and_order(monkeypatch, calls):
    draw(monkeypatch, ((("invert", 1.0, 0), ("equalize", 0.2, 0)),), 1000)
    assert calls.count(("invert", 0)) == 1000
    assert 140 < calls.count(("equalize", 0)) < 260
    assert calls[0] == ("invert", 0)
    assert (("equalize", 0), ("equalize", 0)) not in pairwise(calls)
    calls.clear()
    draw(monkeypatch, ((("invert", 0.5, 0), ("equalize", 0.5, 0)),), 1000)
    both = sum(pair == (("invert", 0), ("equalize", 0)) for pair in pairwise(calls))
    assert 300 < both < 450  # a quarter within a draw, an eighth from one draw to later ones


@pytest.mark.parametrize("name", LEVELS)
def test_levels_and_signs(monkeypatch, calls, name):
    for magnitude, level in zip((0, 5, 9), LEVELS[name], strict=True):
        calls.clear()
        draw(monkeypatch, (((name, 1.0, magnitude),),), 60)
        levels = np.array([value for _, value in calls])
        np.testing.assert_allclose(np.abs(levels), level, rtol=1e-12)
        negative = int((levels < 0).sum())
        assert 10 < negative < 50 if name in SIGNED and level else negative == 0


def test_posterize_bits_at_every_magnitude(monkeypatch):
    image = noise(6, 6)
    for magnitude, bits in enumerate([8, 8, 7, 7, 6, 6, 5, 5, 4, 4]):
        monkeypatch.setattr(autoaugment, "POLICY", ((("posterize", 1.0, magnitude),),))
        result = auto_augment(Example(image, 0, NO_BOX), np.random.default_rng(0))
        np.testing.assert_array_equal(result.image, image >> (8 - bits) << (8 - bits))


# -------------------------------------------------------------------------------- the whole example


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pure_and_deterministic(shape):
    image, box = noise(*shape)[:, ::-1], np.array([0, 0, *shape], np.float32)
    image.setflags(write=False)
    box.setflags(write=False)
    start, different = Example(image, 7, box), 0
    for seed in range(40):
        result = auto_augment(start, np.random.default_rng(seed))
        again = auto_augment(Example(image.copy(), 7, NO_BOX), np.random.default_rng(seed))
        np.testing.assert_array_equal(result.image, again.image)
        assert (result.image.shape, result.image.dtype) == (image.shape, np.uint8)
        assert (result.box.shape, result.box.dtype) == ((4,), np.float32)
        assert result.label == 7
        assert np.isfinite(result.box).all()
        assert np.isnan(again.box).all()
        different += (result.image != image).any()
    assert different > 10
    np.testing.assert_array_equal(image, noise(*shape)[:, ::-1])
    np.testing.assert_array_equal(box, [0, 0, *shape])
