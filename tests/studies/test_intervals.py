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
    base = rng.random((num_seeds, 40)) < 0.7
    ours = base | (rng.random((num_seeds, 40)) < np.linspace(0.1, 0.9, num_seeds)[:, None])
    found = paired_difference(ours, base)
    assert found.difference == pytest.approx(100 * (ours.mean() - base.mean()))
    assert [found.low, found.high] == pytest.approx(by_hand(ours, base, rng), abs=1.3)


def test_pairs_tell_more_than_the_same_accuracies_apart(rng):
    """Two settings that differ on four images of a hundred, in one direction."""
    base = np.arange(100)[None] < 80
    paired = paired_difference(np.arange(100)[None] < 84, base)
    apart = paired_difference(rng.permutation(np.arange(100))[None] < 84, base)
    assert paired.low > 0
    assert apart.low < 0
    assert paired.difference == apart.difference == 4


def test_equal_settings_differ_by_nothing():
    same = np.ones((2, 5), bool)
    assert paired_difference(same, same) == (0, 0, 0)


def test_a_single_image_has_no_interval():
    found = paired_difference(np.ones((1, 1), bool), np.zeros((1, 1), bool))
    assert found.difference == 100
    assert np.isnan([found.low, found.high]).all()


def test_the_deviation_is_the_samples():
    assert mean_and_deviation(np.array([1.0, 3.0])) == (2, pytest.approx(2**0.5))
    assert np.isnan(mean_and_deviation(np.array([1.0]))[1])
