"""Patches of another size, by the definition: the pseudo-inverse of the whole resize matrix."""

import numpy as np
import pytest

from aftrans_jax.weights.fitting import resize_kernel


def resized(patch: np.ndarray, new: int) -> np.ndarray:
    """A patch resized bilinearly, pixel by pixel: half-pixel centres, edges repeated."""
    old = len(patch)
    result = np.zeros((new, new))
    for row in range(new):
        for col in range(new):
            y, x = (min(max((at + 0.5) * old / new - 0.5, 0), old - 1) for at in (row, col))
            top, left = int(y), int(x)
            bottom, right = min(top + 1, old - 1), min(left + 1, old - 1)
            upper = patch[top, left] * (1 - x + left) + patch[top, right] * (x - left)
            lower = patch[bottom, left] * (1 - x + left) + patch[bottom, right] * (x - left)
            result[row, col] = upper * (1 - y + top) + lower * (y - top)
    return result


def by_definition(kernel: np.ndarray, new: int) -> np.ndarray:
    """FlexiViT's: w' = (B^T)^+ w, B the matrix of resizing a patch, written out whole."""
    old = len(kernel)
    basis = np.eye(old * old).reshape(-1, old, old)
    matrix = np.stack([resized(patch, new).ravel() for patch in basis], axis=1)
    inverse = np.linalg.pinv(matrix.T)
    return (inverse @ kernel.reshape(old * old, -1)).reshape(new, new, *kernel.shape[2:])


@pytest.mark.parametrize(("old", "new"), [(7, 8), (8, 7), (4, 7), (8, 4), (5, 5)])
def test_it_is_flexivit_s_definition(rng, old, new):
    kernel = rng.normal(size=(old, old, 3, 4)).astype(np.float32)
    expected = by_definition(kernel.astype(np.float64), new)
    # Rounded to float32 once.
    np.testing.assert_allclose(resize_kernel(kernel, new), expected, rtol=1e-6, atol=1e-6)


def test_a_grown_kernel_sees_a_grown_patch_as_the_old_one_sees_the_patch(rng):
    kernel = rng.normal(size=(7, 7, 1, 5)).astype(np.float32)
    patch = rng.normal(size=(7, 7))
    grown = resized(patch, 8)
    seen = np.einsum("ab,abh->h", grown, resize_kernel(kernel, 8)[:, :, 0])
    np.testing.assert_allclose(seen, np.einsum("ab,abh->h", patch, kernel[:, :, 0]), atol=1e-5)
