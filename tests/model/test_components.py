"""Components against scipy.ndimage.label, on masks made to be slow or ambiguous."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.sharding import AxisType, PartitionSpec
from scipy import ndimage

from aftrans_jax.model.components import label_components, largest_component

SIDE = 37
MAX_ITERATIONS = 8  # goal P7
SMALL_SHAPES = [(3, 8, 8), (3, 5, 9), (3, 9, 3), (3, 7, 1)]

label = jax.jit(label_components)
largest = jax.jit(largest_component)


def scipy_labels(masks):
    """Relabels scipy's components by their smallest raster index."""
    expected = np.full(masks.shape, masks[0].size)
    for image, mask in zip(expected, masks, strict=True):
        names, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for name in range(1, count + 1):
            image[names == name] = np.flatnonzero(names == name)[0]
    return expected


def scipy_largest(masks):
    """scipy numbers components in raster order and argmax takes the first of equals."""
    expected = np.zeros(masks.shape, bool)
    for image, mask in zip(expected, masks, strict=True):
        names, count = ndimage.label(mask, structure=np.ones((3, 3)))
        if count:
            image[:] = names == 1 + np.argmax(np.bincount(names.ravel())[1:])
    return expected


def spiral():
    """Walks inwards, turning right one cell short of the wall or of its own track."""
    walls = np.zeros((SIDE + 4, SIDE + 4), bool)
    walls[[0, -1]] = walls[:, [0, -1]] = True
    position, step = np.array([2, 2]), np.array([0, 1])
    walls[tuple(position)] = True
    turns = 0
    while turns < 2:
        ahead = position + step
        inside = (ahead >= 2).all() and (ahead < SIDE + 2).all()
        if inside and not walls[tuple(ahead + step)]:
            position, turns = ahead, 0
            walls[tuple(position)] = True
        else:
            step, turns = np.array([step[1], -step[0]]), turns + 1
    return walls[2:-2, 2:-2]


def serpentine():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


def comb():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, ::2] = mask[-1] = True
    return mask


def maze(rng):
    """A spanning tree: every junction opens the wall above it or to its left."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[::2, ::2] = mask[0] = mask[:, 0] = True
    up = rng.random((SIDE // 2, SIDE // 2)) < 0.5
    mask[1::2, 2::2], mask[2::2, 1::2] = up, ~up
    return mask


def blobs(rng):
    smooth = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 1.5)
    return smooth > np.quantile(smooth, 0.8)


def turned(mask):
    """All eight orientations."""
    return [np.rot90(side, k) for side in (mask, mask.T) for k in range(4)]


def hard_masks():
    rng = np.random.default_rng(0)
    noise = [rng.random((SIDE, SIDE)) < density for density in (0.2, 0.38, 0.41, 0.44, 0.6) * 8]
    shapes = [*turned(spiral()), *turned(serpentine()), *turned(comb()), *turned(maze(rng))]
    plain = [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)]
    checkerboard = np.indices((SIDE, SIDE)).sum(axis=0) % 2 == 0
    return np.stack([*shapes, *noise, *plain, checkerboard, *(blobs(rng) for _ in range(20))])


@pytest.fixture(scope="module")
def masks():
    return hard_masks()


@pytest.mark.parametrize("build", [spiral, serpentine, comb])
def test_hard_masks_are_one_long_component(build):
    names, count = ndimage.label(build(), structure=np.ones((3, 3)))
    assert count == 1
    assert names.sum() > SIDE * SIDE // 2


def test_labels_match_scipy(masks):
    labels = label(masks).labels
    assert labels.dtype == jnp.int32
    np.testing.assert_array_equal(labels, scipy_labels(masks))


def test_largest_matches_scipy(masks):
    np.testing.assert_array_equal(largest(masks), scipy_largest(masks))


def test_the_slowest_mask_stays_within_the_iteration_goal(masks):
    assert 1 < label(masks).num_iterations <= MAX_ITERATIONS  # the batch waits for its slowest


@pytest.mark.parametrize("shape", SMALL_SHAPES)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_small_mask_matches_scipy(shape, data):
    masks = data.draw(hnp.arrays(bool, shape))
    np.testing.assert_array_equal(label(masks).labels, scipy_labels(masks))
    np.testing.assert_array_equal(largest(masks), scipy_largest(masks))


@pytest.mark.parametrize("shape", SMALL_SHAPES)
def test_noise_on_odd_shapes_matches_scipy(shape):
    rng = np.random.default_rng(1)
    for density in np.linspace(0.1, 0.9, 40):
        masks = rng.random(shape) < density
        np.testing.assert_array_equal(label(masks).labels, scipy_labels(masks))


def test_labels_by_hand():
    mask = np.zeros((3, 8, 8), bool)
    mask[0, [0, 1, 1, 2], [7, 6, 0, 1]] = True  # two diagonal pairs
    expected = np.full((3, 8, 8), 64)
    expected[0, [0, 1], [7, 6]] = 7
    expected[0, [1, 2], [0, 1]] = 8
    np.testing.assert_array_equal(label(mask).labels, expected)


@pytest.mark.parametrize("start", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("direction", [(1, 1), (1, -1)])
def test_two_diagonal_cells_are_one_component(start, direction):
    mask = np.zeros((3, 8, 8), bool)
    first = np.array(start) + 2
    mask[1][tuple(first)] = mask[1][tuple(first + direction)] = True
    np.testing.assert_array_equal(largest(mask), mask)


def test_a_tie_goes_to_the_first_in_raster_order():
    mask = np.zeros((3, 8, 8), bool)
    mask[0, 2, 1:4] = mask[0, 5, 4:7] = True  # the upper of two bars
    mask[1, 1, 0:3] = mask[1, 0:3, 5] = True  # starts higher although it lies further right
    mask[2, 6, 0:2] = mask[2, 1:4, 7] = True  # no tie: the larger one, although later in columns
    expected = np.zeros_like(mask)
    expected[0, 2, 1:4] = expected[1, 0:3, 5] = expected[2, 1:4, 7] = True
    np.testing.assert_array_equal(largest(mask), expected)


def test_an_empty_mask_stays_empty_beside_a_single_cell():
    mask = np.zeros((3, 8, 8), bool)
    mask[1, 0, 0] = True
    np.testing.assert_array_equal(largest(mask), mask)


def test_devices_loop_alone_under_shard_map():
    num_devices = min(2, jax.device_count())
    mesh = jax.make_mesh(
        (num_devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:num_devices]
    )
    spec = PartitionSpec("data")
    sharded = jax.jit(jax.shard_map(largest_component, mesh=mesh, in_specs=spec, out_specs=spec))
    masks = np.random.default_rng(3).random((6, 8, 8)) < 0.41
    compiled = sharded.lower(masks).compile()
    assert "all-reduce" not in compiled.as_text()
    np.testing.assert_array_equal(sharded(masks), scipy_largest(masks))
