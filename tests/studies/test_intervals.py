"""The paired bootstrap against a loop that draws images and seeds by hand."""

import numpy as np
import pytest

from aftrans_jax.studies.intervals import mean_and_deviation, paired_difference


def by_hand(ours, base, rng, draws=4000):
    """The middle 95 % of differences over images and seeds drawn anew, one draw at a time."""
    seeds, images = ours.shape
    found = []
    for _ in range(draws):
        rows = rng.integers(seeds, size=seeds) if seeds > 1 else np.arange(1)
        cols = rng.integers(images, size=images)
        total = sum(int(ours[r, c]) - int(base[r, c]) for r in rows for c in cols)
        found.append(100 * total / (seeds * images))
    return np.quantile(found, (0.025, 0.975))


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_interval_is_that_of_draws_by_hand(rng, num_seeds):
    base = rng.random((num_seeds, 80)) < 0.7
    ours = base | (rng.random((num_seeds, 80)) < np.linspace(0.9, 0.1, num_seeds)[:, None])
    found = paired_difference(ours, base)
    assert found.difference == pytest.approx(100 * (ours.mean() - base.mean()))
    assert [found.low, found.high] == pytest.approx(by_hand(ours, base, rng), abs=1.3)
    assert paired_difference(ours, base) == found  # a table that is written again says the same


def test_pairs_tell_more_than_the_same_accuracies_apart(rng):
    """Two settings that differ on ten images of two hundred, in one direction."""
    base = np.arange(200)[None] < 160
    paired = paired_difference(np.arange(200)[None] < 170, base)
    apart = paired_difference(rng.permutation(np.arange(200))[None] < 170, base)
    assert paired.low > 0
    assert apart.low < 0
    assert paired.difference == apart.difference == 5
    assert paired.num_differing == 10


@pytest.mark.parametrize("num_differing", [0, 1, 9])
def test_of_few_images_that_differ_there_is_no_interval(num_differing):
    """However often they differ: other seeds are no other images."""
    base = np.zeros((3, 200), bool)
    ours = base | (np.arange(200) < num_differing)
    found = paired_difference(ours, base)
    assert (found.difference, found.num_differing) == (num_differing / 2, num_differing)
    assert np.isnan([found.low, found.high]).all()


def test_images_that_differ_with_any_seed_are_counted():
    """Also where their gains add up to nothing."""
    base = np.zeros((2, 12), bool)
    ours = base.copy()
    ours[0, :6], base[1, :6], ours[1, 6:] = True, True, True
    found = paired_difference(ours, base)
    assert (found.difference, found.num_differing) == (25, 12)
    assert np.isfinite([found.low, found.high]).all()


def test_the_deviation_is_the_samples():
    assert mean_and_deviation(np.array([1.0, 3.0])) == (2, pytest.approx(2**0.5))
    assert np.isnan(mean_and_deviation(np.array([1.0]))[1])
