"""Overlapping patches against numpy's sliding windows, and their embedding's gradient."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from aftrans_jax.model import patches
from aftrans_jax.model.patches import PatchEmbedding, flat_patches


def windows(images, patch_size, stride):
    """Patches in raster order, each flattened as rows, columns, channels."""
    found = sliding_window_view(images, (patch_size, patch_size), axis=(1, 2))
    found = found[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    return found.reshape(len(images), found.shape[1] * found.shape[2], -1)


@settings(deadline=None, max_examples=25)  # each shape is compiled anew
@example(patch_size=16, stride=12, more=288)  # 304 px, what TransFG crops to for cars
@example(patch_size=16, stride=16, more=0)  # one patch
@example(patch_size=4, stride=6, more=15)  # gaps between patches, pixels left over
@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 30))
def test_patches_are_the_windows_of_numpy(patch_size, stride, more):
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, patch_size + more, patch_size + more, 3), np.float32)
    cut = jax.jit(flat_patches, static_argnums=(1, 2))  # one compilation, not one an operation
    found = cut(jnp.asarray(images), patch_size, stride)
    np.testing.assert_array_equal(found, windows(images, patch_size, stride))


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_embedding_and_its_gradient_agree_with_float64(rng, monkeypatch, platform):
    monkeypatch.setattr(patches, "default_device", lambda: SimpleNamespace(platform=platform))
    images = jnp.asarray(rng.standard_normal((2, 36, 36, 3)), jnp.float32)
    kernel = rng.standard_normal((8, 8, 3, 5), np.float32)
    bias = rng.standard_normal(5, np.float32)
    module = PatchEmbedding(5, patch_size=8, stride=6, dtype=jnp.dtype("float32"))

    def embed(params):
        return module.apply({"params": params}, images)

    traced = str(jax.make_jaxpr(embed)({"kernel": kernel, "bias": bias}))
    assert ("conv_general_dilated" in traced) == (platform == "tpu")
    embedded, pull_back = jax.vjp(embed, {"kernel": kernel, "bias": bias})
    flat = windows(np.asarray(images, np.float64), 8, 6)
    np.testing.assert_allclose(embedded, flat @ kernel.reshape(-1, 5) + bias, atol=1e-4)
    pushed = rng.standard_normal(embedded.shape, np.float32)
    (gradient,) = pull_back(pushed)
    expected = np.einsum("bnp,bnc->pc", flat, pushed)
    np.testing.assert_allclose(gradient["kernel"].reshape(-1, 5), expected, atol=1e-4)
    np.testing.assert_allclose(gradient["bias"], pushed.sum((0, 1), np.float64), atol=1e-4)
