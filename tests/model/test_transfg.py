"""TransFG against a float64 reference of its paper, and properties of its selection."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from aftrans_jax.model.rollout import Projections, projections
from aftrans_jax.model.transfg import TransFG, class_row_of_product, part_indices, select_parts

MODEL = TransFG(tiny.tiny_vit())


@pytest.fixture
def subject(rng):
    images = tiny.random_images(rng, batch=3)
    return tiny.random_params(MODEL, rng, images), images


def random_layers(rng, num_layers=4, batch=2, tokens=9, heads=3, width=5) -> list[Projections]:
    shape = (batch, tokens, heads, width)
    draw = (rng.normal(size=(2, *shape)).astype(np.float32) for _ in range(num_layers))
    return [Projections(*map(jnp.asarray, layer)) for layer in draw]


def test_logits_and_features_agree_with_float64(subject):
    params, images = subject
    output = tiny.apply(MODEL, params, images, train=False)
    for row, image in enumerate(images):
        expected = oracles.transfg(
            tiny.flat(params["vit"]), tiny.normalized(image), tiny.STRIDE, "exact"
        )
        np.testing.assert_allclose(output.logits["global"][row], expected.logits, atol=5e-5)
        np.testing.assert_allclose(output.features["global"][row], expected.features, atol=5e-5)


def test_parts_agree_with_float64(subject):
    params, images = subject

    def parts(module, images):
        found = []
        module.vit.encode(
            module.vit.embed(module.vit.normalize(images)),
            train=False,
            observe=projections,
            select=lambda tokens, layers: found.append(part_indices(layers)) or tokens,
        )
        return found[0]

    found = tiny.apply(MODEL, params, images, method=parts)
    for row, image in enumerate(images):
        expected = oracles.transfg(
            tiny.flat(params["vit"]), tiny.normalized(image), tiny.STRIDE, "exact"
        )
        np.testing.assert_array_equal(found[row], expected.parts)


def test_the_row_is_that_of_the_product_of_whole_maps(rng):
    layers = random_layers(rng)
    product = np.eye(9)
    for query, key in layers:
        scores = np.einsum("bqhd,bkhd->bhqk", query, key, dtype=np.float64) / np.sqrt(5)
        product = oracles.softmax(scores, axis=-1) @ product
    row = class_row_of_product(layers)
    np.testing.assert_allclose(row, product[:, :, 0], rtol=1e-5)
    np.testing.assert_allclose(row.sum(axis=-1), 1, rtol=1e-5)


def test_a_head_that_looks_at_one_patch_selects_it():
    """Layer 1: each query attends to its right neighbour; layer 2: the class token to patch 3."""
    tokens, large = 6, 100.0
    eye = jnp.eye(tokens)
    neighbour = Projections(large * jnp.roll(eye, 1, axis=1)[None, :, None], eye[None, :, None])
    there = Projections(large * eye[None, jnp.full(tokens, 3), None], eye[None, :, None])
    assert part_indices([there]).tolist() == [[3]]
    assert part_indices([neighbour, there]).tolist() == [[4]]
    assert part_indices([there, neighbour]).tolist() == [[3]]


def test_the_class_token_is_never_a_part_and_the_first_of_equals_is_taken():
    equal = Projections(jnp.zeros((1, 5, 2, 4)), jnp.zeros((1, 5, 2, 4)))
    assert part_indices([equal, equal]).tolist() == [[1, 1]]


def test_parts_follow_the_class_token_one_a_head(rng):
    layers, tokens = random_layers(rng), jnp.asarray(rng.normal(size=(2, 9, 7)))
    selected, indices = select_parts(tokens, layers), part_indices(layers)
    assert selected.shape == (2, 1 + 3, 7)
    for image in range(2):
        expected = tokens[image][np.array([0, *indices[image]])]
        np.testing.assert_array_equal(selected[image], expected)


def test_moving_the_patches_moves_the_parts(rng):
    layers = random_layers(rng)
    order = np.array([0, *(1 + rng.permutation(8))])
    moved = [Projections(layer.query[:, order], layer.key[:, order]) for layer in layers]
    np.testing.assert_array_equal(order[part_indices(moved)], part_indices(layers))


def test_only_the_class_token_and_the_parts_reach_the_last_block(subject):
    """Whatever the other tokens are there, the logits are the same."""
    params, images = subject

    def logits(module, images, noise):
        def select(tokens, layers):
            kept = jax.nn.one_hot(part_indices(layers), tokens.shape[1]).sum(axis=1) > 0
            kept = kept.at[:, 0].set(True)[..., None]
            return select_parts(jnp.where(kept, tokens, noise), layers)

        trunk = module.vit
        patches = trunk.embed(trunk.normalize(images))
        tokens, _ = trunk.encode(patches, train=False, observe=projections, select=select)
        return trunk.classify(tokens[:, 0])

    plain = tiny.apply(MODEL, params, images, train=False).logits["global"]
    for noise in (0.0, 100.0):
        found = tiny.apply(MODEL, params, images, noise=noise, method=logits)
        np.testing.assert_allclose(found, plain, atol=1e-6)


def test_global_logits_are_the_model_s_only_ones(subject):
    params, images = subject
    logits = tiny.apply(MODEL, params, images, method="global_logits")
    output = tiny.apply(MODEL, params, images, train=False)
    np.testing.assert_array_equal(logits, output.logits["global"])
    assert output.logits.keys() == output.features.keys() == {"global"}
    assert output.region is None


def test_all_blocks_learn_and_keep_no_map_for_the_backward_pass(subject):
    params, images = subject

    def loss(params):
        return (tiny.apply(MODEL, params, images, train=True).logits["global"] ** 2).sum()

    value, pullback = jax.vjp(loss, params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(pullback) if hasattr(leaf, "shape")]
    assert shapes
    assert not [shape for shape in shapes if shape[-2:] == (50, 50)]
    (grads,) = pullback(jnp.ones_like(value))
    for name, grad in tiny.flat(grads).items():
        assert np.isfinite(grad).all()
        # A key's bias adds the same to all of a query's scores, which softmax ignores.
        assert name.endswith("key/bias") or np.abs(grad).max() > 1e-6, name


def test_the_parameters_are_the_trunk_alone(rng):
    params = tiny.random_params(MODEL, rng, tiny.random_images(rng))
    assert params.keys() == {"vit"}
