"""Mixup and CutMix: pixels and targets against numpy, what is drawn against its distribution."""

import functools
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.training.mixing import MIXINGS, mix, partners

ROWS, HEIGHT, WIDTH, CLASSES = 6, 4, 6, 5
MASKS = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
MANY = (4000, 12, 20)  # images to draw for
PARTNERS = jax.jit(partners)


def random_batch(rng, mask):
    labels = rng.integers(0, CLASSES, ROWS, dtype=np.int32)
    return {
        "image": rng.integers(0, 256, (ROWS, HEIGHT, WIDTH, 3), dtype=np.uint8),
        "label": labels,
        "mask": np.array(mask, bool),
        "target": np.eye(CLASSES, dtype=np.float32)[labels],
        "index": np.arange(ROWS, dtype=np.int32),
    }


@jax.jit
def mixed_by(batch, own):
    return mix(batch, jax.random.key(0), shares=lambda *_: own, strength=1.0)


MIX = {name: jax.jit(partial(mix, shares=shares, strength=1.0)) for name, shares in MIXINGS.items()}


@functools.cache
def drawing(name, strength):
    return jax.jit(partial(MIXINGS[name], shape=MANY, strength=strength))


def drawn(name, strength, seed=0):
    return np.asarray(drawing(name, strength)(jax.random.key(seed)))


@settings(deadline=None)
@given(MASKS)
def test_the_partner_is_the_next_row_that_is_there(mask):
    found = PARTNERS(np.array(mask)).tolist()
    there = [row for row in range(ROWS) if mask[row]]
    expected = dict(zip(there, [*there[1:], *there[:1]], strict=True))
    assert found == [expected.get(row, row) for row in range(ROWS)]


@settings(deadline=None, max_examples=30)
@given(MASKS, st.integers(0, 2**32 - 1), st.booleans())
def test_mixing_against_numpy(mask, seed, is_whole):
    rng = np.random.default_rng(seed)
    batch = random_batch(rng, mask)
    shape = (ROWS, 1, 1) if is_whole else (ROWS, HEIGHT, WIDTH)
    own = rng.integers(0, 65, shape) / 64  # exact in float32
    found = jax.device_get(mixed_by(batch, np.broadcast_to(own, shape).astype(np.float32)))
    other = np.asarray(PARTNERS(batch["mask"]))
    keep, images = own[..., None], batch["image"].astype(np.float64)
    share = own.mean(axis=(1, 2))
    np.testing.assert_array_equal(
        found["image"], np.round(keep * images + (1 - keep) * images[other])
    )
    assert found["image"].dtype == np.uint8
    targets = share[:, None] * batch["target"] + (1 - share[:, None]) * batch["target"][other]
    np.testing.assert_allclose(found["target"], targets, atol=1e-6)
    clear = np.abs(share - 0.5) > 1e-5
    labels = np.where(share > 0.5, batch["label"], batch["label"][other])
    np.testing.assert_array_equal(found["label"][clear], labels[clear])
    for name in ("mask", "index"):
        np.testing.assert_array_equal(found[name], batch[name])


@settings(deadline=None, max_examples=20)
@given(MASKS)
def test_what_is_masked_never_mixes_into_others(mask):
    rng = np.random.default_rng(0)
    one = random_batch(rng, mask)
    other = {key: value.copy() for key, value in one.items()}
    gone = ~one["mask"]
    other["image"][gone], other["label"][gone], other["target"][gone] = 255, 0, 1
    outcomes = [MIX["both"](batch, jax.random.key(3)) for batch in (one, other)]
    for key in ("image", "label", "target"):
        found = [np.asarray(outcome[key])[one["mask"]] for outcome in outcomes]
        np.testing.assert_array_equal(*found)
    alone = one["mask"] if one["mask"].sum() == 1 else np.zeros(ROWS, bool)
    np.testing.assert_array_equal(outcomes[0]["image"][alone], one["image"][alone])


def test_a_pair_by_hand():
    """CutMix's box has 2 of 8 pixels, which leaves three quarters of one label."""
    images = np.stack([np.full((2, 4, 3), 10), np.full((2, 4, 3), 90)]).astype(np.uint8)
    batch = {
        "image": images,
        "label": np.array([0, 2], np.int32),
        "mask": np.ones(2, bool),
        "target": np.eye(3, dtype=np.float32)[[0, 2]] * np.array([[2.0], [1.0]], np.float32),
    }
    own = np.ones((2, 2, 4), np.float32)
    own[0, :, 3] = own[1, 0, :] = own[1, 1, 0] = 0  # 2 of 8, 5 of 8
    found = jax.device_get(mixed_by(batch, own))
    np.testing.assert_array_equal(found["image"][0, :, :, 0], [[10, 10, 10, 90]] * 2)
    np.testing.assert_array_equal(found["image"][1, :, :, 2], [[10] * 4, [10, 90, 90, 90]])
    np.testing.assert_allclose(found["target"], [[1.5, 0, 0.25], [1.25, 0, 0.375]])
    assert found["label"].tolist() == [0, 0]  # the larger share, whatever classes weigh


def test_unmixed_batches_stay_as_they_are(rng):
    batch = random_batch(rng, [True] * ROWS)
    found = MIX["none"](batch, jax.random.key(0))
    for key, value in batch.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("strength", [0.2, 4.0])
def test_mixup_draws_a_share_for_each_image_from_the_beta_distribution(strength):
    shares = drawn("mixup", strength)
    assert shares.shape == (MANY[0], 1, 1)
    assert len(np.unique(shares)) > 0.9 * MANY[0] or strength < 1  # which rounds many to 0 or 1
    deviation = (1 / (4 * (2 * strength + 1))) ** 0.5
    assert shares.mean() == pytest.approx(0.5, abs=4 * deviation / MANY[0] ** 0.5)
    assert shares.std() == pytest.approx(deviation, rel=0.05)


def reference_boxes(rng, shape, strength):
    """CutMix's `rand_bbox`, as published: the share of each image that is cut out."""
    number, height, width = shape
    cut = []
    for _ in range(number):
        ratio = np.sqrt(1.0 - rng.beta(strength, strength))
        half_width, half_height = int(width * ratio) // 2, int(height * ratio) // 2
        x, y = rng.integers(width), rng.integers(height)
        cols = np.clip([x - half_width, x + half_width], 0, width)
        rows = np.clip([y - half_height, y + half_height], 0, height)
        cut.append(np.diff(cols)[0] * np.diff(rows)[0] / (height * width))
    return np.array(cut)


def test_cutmix_cuts_one_box_from_each_image_as_published(rng):
    own = drawn("cutmix", 1.0)
    assert set(np.unique(own)) == {0, 1}
    cut = own == 0
    rows, cols = cut.any(axis=2).sum(axis=1), cut.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(cut.sum(axis=(1, 2)), rows * cols)  # a grid of rows and columns
    for axis in (1, 2):
        edges = np.diff(cut.any(axis=axis).astype(int), prepend=0, append=0, axis=1)
        assert (np.abs(edges).sum(axis=1) <= 2).all()  # which are neighbours
    areas, expected = cut.mean(axis=(1, 2)), reference_boxes(rng, MANY, 1.0)
    error = 4 * expected.std() * (2 / MANY[0]) ** 0.5
    assert areas.mean() == pytest.approx(expected.mean(), abs=error)
    bins = np.linspace(0, 1, 6)
    found, wanted = (np.histogram(x, bins)[0] / MANY[0] for x in (areas, expected))
    np.testing.assert_allclose(found, wanted, atol=0.05)
    middle = cut.mean(axis=0)
    np.testing.assert_allclose(middle, middle[::-1, ::-1], atol=0.06)  # no side is preferred


def test_both_is_either_by_a_coin():
    own = drawn("both", 1.0)
    constant = (own == own[:, :1, :1]).all(axis=(1, 2))
    inner = constant & (own[:, 0, 0] < 1)  # CutMix's box may be empty
    assert inner.mean() == pytest.approx(0.5, abs=0.04)
    assert set(np.unique(own[~constant])) == {0, 1}


def test_other_numbers_are_other_shares():
    one, again, other = (drawn("both", 1.0, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
