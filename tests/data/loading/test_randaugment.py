"""RandAugment: the added operations by hand, boxes against painted pixels, the draws counted."""

from collections import Counter
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageEnhance

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading import randaugment
from aftrans_jax.data.loading.autoaugment import OPERATIONS, Operation
from aftrans_jax.data.loading.randaugment import RAND_OPERATIONS, rand_augment

NO_BOX = np.full(4, np.nan, np.float32)
SIGNED = {
    *("rotate", "color", "contrast", "brightness", "sharpness"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
}


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def applied(name, image, level):
    return np.asarray(RAND_OPERATIONS[name].apply(Image.fromarray(image), float(level)))


def test_the_operations_are_the_papers():
    assert len(RAND_OPERATIONS) == 14
    added = {"identity", "brightness", "shear_y", "translate_x", "translate_y"}
    assert RAND_OPERATIONS.keys() - added == OPERATIONS.keys() - {"invert"}
    for name in RAND_OPERATIONS.keys() - added - {"rotate"}:
        assert RAND_OPERATIONS[name] is OPERATIONS[name]
    assert {name for name, operation in RAND_OPERATIONS.items() if operation.signed} == SIGNED


@pytest.mark.parametrize("level", [-0.81, 0.0, 0.4])
def test_brightness_is_pils(level):
    image = noise(9, 7)
    expected = ImageEnhance.Brightness(Image.fromarray(image)).enhance(1 + level)
    np.testing.assert_array_equal(applied("brightness", image, level), expected)
    exact = np.clip(image * (1 + level), 0, 255)
    assert np.abs(applied("brightness", image, level) - exact).max() <= 1


def test_the_identity_changes_nothing():
    np.testing.assert_array_equal(applied("identity", noise(5, 4), 0.0), noise(5, 4))


@pytest.mark.parametrize(("name", "side"), [("translate_x", 40), ("translate_y", 20)])
@pytest.mark.parametrize("pixels", [-7, 0, 5])
def test_translating_by_whole_pixels_is_pils_offset_with_grey(name, side, pixels):
    image = noise(20, 40)
    dx, dy = (-pixels, 0) if name == "translate_x" else (0, -pixels)
    expected = np.array(ImageChops.offset(Image.fromarray(image), dx, dy))
    axis = 1 if name == "translate_x" else 0
    rolled_in = slice(side - pixels, None) if pixels > 0 else slice(0, -pixels)
    expected[(slice(None), rolled_in) if axis else rolled_in] = 128
    np.testing.assert_array_equal(applied(name, image, pixels / side), expected)


@pytest.mark.parametrize("slope", [-0.27, 0.0, 0.2])
def test_shearing_columns_is_shearing_rows_of_the_transposed_image(slope):
    image = noise(20, 30)
    expected = OPERATIONS["shear_x"].apply(Image.fromarray(image.swapaxes(0, 1)), slope)
    np.testing.assert_array_equal(
        applied("shear_y", image, slope), np.asarray(expected).swapaxes(0, 1)
    )


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", ["shear_y", "translate_x", "translate_y", "rotate"])
def test_boxes_go_where_painted_pixels_go(name, sign):
    image, box = np.zeros((80, 120, 3), np.uint8), np.array([20, 30, 44, 70], np.float32)
    image[20:44, 30:70] = 255
    operation = RAND_OPERATIONS[name]
    level = sign * 0.9 * operation.last
    painted = Image.fromarray(image)
    moved = operation.move(box, level, painted)
    rows, cols = np.nonzero(np.asarray(operation.apply(painted, level))[..., 0] > 200)
    seen = np.array([rows.min(), cols.min(), rows.max() + 1, cols.max() + 1])
    assert np.abs(moved - seen).max() <= 2
    assert np.abs(moved - box).max() > 5


def test_two_operations_are_drawn_alike_at_nine_tenths_and_either_sign(monkeypatch):
    seen = []

    def watched(name):
        operation = RAND_OPERATIONS[name]
        return operation._replace(
            apply=lambda image, level: seen.append((name, level)) or image,
            move=Operation(operation.apply).move,
        )

    table = MappingProxyType({name: watched(name) for name in RAND_OPERATIONS})
    monkeypatch.setattr(randaugment, "RAND_OPERATIONS", table)
    example, rng, number = Example(noise(4, 4), 3, NO_BOX), np.random.default_rng(0), 3500
    for _ in range(number):
        assert rand_augment(example, rng).label == 3
    assert len(seen) == 2 * number
    counts = Counter(name for name, _ in seen)
    assert counts.keys() == RAND_OPERATIONS.keys()
    assert all(abs(count - 500) < 100 for count in counts.values())  # 4.6 deviations
    pairs = Counter(zip(*[iter(name for name, _ in seen)] * 2, strict=True))
    assert len(pairs) == 14**2  # repetitions included
    levels = {name: {level for own, level in seen if own == name} for name in counts}
    assert {name for name, found in levels.items() if len(found) == 2} == SIGNED
    expected = {"rotate": 27, "shear_x": 0.27, "color": 0.81, "translate_y": 0.9 * 150 / 331}
    for name, level in expected.items():
        assert sorted(levels[name]) == pytest.approx([-level, level])
    assert sorted(levels["posterize"]) == pytest.approx([4.4])  # 4 bits
    assert min(levels["solarize"]) == pytest.approx(25.6)


def test_the_image_and_its_box_change_together_and_the_given_one_stays():
    image, box = noise(30, 40), np.array([5, 6, 20, 30], np.float32)
    kept, outcomes = image.copy(), []
    for seed in range(40):
        after = rand_augment(Example(image, 1, box), np.random.default_rng(seed))
        again = rand_augment(Example(image, 1, box), np.random.default_rng(seed))
        np.testing.assert_array_equal(after.image, again.image)
        assert after.image.shape == image.shape
        assert after.image.dtype == np.uint8
        assert (after.box[:2] >= 0).all()
        assert (after.box[2:] <= (30, 40)).all()
        outcomes.append(after.image.tobytes())
        assert np.isnan(
            rand_augment(Example(image, 1, NO_BOX), np.random.default_rng(seed)).box
        ).all()
    assert len(set(outcomes)) > 30
    np.testing.assert_array_equal(image, kept)
