"""Blocks that are computed again going backward: the same gradients and the same dropout."""

import jax
import numpy as np
import pytest
from tiny import random_images, random_params, tiny_vit

from aftrans_jax.model.class_row import Summary, class_row_descriptor
from aftrans_jax.model.encoder import REMATS
from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import class_feature


def gradient_of(remat):
    """The gradient of a loss of the class token and of the layers' observations."""
    variant = Variant(patch_size=4, hidden=12, mlp=20, layers=2, heads=3)
    vit = tiny_vit(stochastic_depth=0.5, remat=remat).clone(variant=variant)

    def read(vit, images):
        patches = vit.embed(vit.normalize(images))
        observe = Summary(class_row_descriptor)
        tokens, layers = vit.encode(patches, train=True, observe=observe)
        return (class_feature(tokens) ** 2).sum(), layers

    def loss(params, images, key):
        rngs = {"dropout": key}
        return vit.apply({"params": params}, images, method=read, rngs=rngs)

    return vit, jax.jit(jax.grad(loss, has_aux=True))


@pytest.fixture(scope="module")
def plain():
    rng = np.random.default_rng(0)
    images = random_images(rng, batch=4)
    vit, gradient = gradient_of("none")
    arguments = random_params(vit, rng, images), images, jax.random.key(1)
    return arguments, gradient(*arguments), recomputed(gradient, arguments)


def recomputed(gradient, arguments):
    """How many parts of the program are computed again."""
    return str(jax.make_jaxpr(gradient)(*arguments)).count("prevent_cse=")


@pytest.mark.parametrize("remat", sorted(REMATS.keys() - {"none"}))
def test_gradients_are_those_of_the_plain_step(plain, remat):
    arguments, expected, count = plain
    _, gradient = gradient_of(remat)
    found = gradient(*arguments)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )
    params, images, _ = arguments
    other = gradient(params, images, jax.random.key(2))[0]["Transformer"]["encoderblock_1"]
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), other, expected[0]["Transformer"]["encoderblock_1"]
    )
    assert max(jax.tree.leaves(moved)) > 1e-3  # the layers drop out
    assert recomputed(gradient, arguments) > count
