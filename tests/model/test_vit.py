"""The trunk against the float64 reference, published sizes and the real DeiT-tiny."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny
from npz_file import read_npz
from PIL import Image

from aftrans_jax.model.class_row import DESCRIPTORS, Summary
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT, class_feature
from aftrans_jax.weights.fitting import fit_to_model

HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "millions"),
    # timm and vit_jax state these for 1000 classes at 224 px, without pre_logits.
    [
        ("ti16", 5_717_416),
        ("s16", 22_050_664),
        ("s32", 22_878_952),
        ("s8", 22_055_272),
        ("b16", 86_567_656),
        ("b32", 88_224_232),
        ("b8", 86_576_872),
        ("l16", 304_326_632),
        ("l32", 306_535_400),
        ("h14", 632_045_800),
    ],
)
def test_parameter_counts_are_the_published_ones(name, millions):
    variant = VARIANTS[name]
    vit = ViT(variant, 1000, 224, variant.patch_size, "tanh", HALF, HALF)
    image = jnp.zeros((1, 224, 224, 3), jnp.uint8)
    shapes = jax.eval_shape(lambda: vit.init(jax.random.key(0), image, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == millions


def test_parameters_start_as_vit_jax_draws_them():
    """Compares standard deviations, which are 0 for all other parameters."""
    variant = VARIANTS["mini8"]._replace(layers=2)  # each block is compiled anew
    width, mlp = variant.hidden, variant.mlp
    deviations = {
        "embedding/kernel": (8 * 8 * 3) ** -0.5,
        "pos_embedding": 0.02,
        **dict.fromkeys(["query/kernel", "key/kernel", "value/kernel", "out/kernel"], width**-0.5),
        **dict.fromkeys(["Dense_0/kernel", "Dense_1/kernel"], (2 / (width + mlp)) ** 0.5),
        **dict.fromkeys(["Dense_0/bias", "Dense_1/bias"], 1e-6),
    }
    vit = ViT(variant, 10, 64, 8, "tanh", HALF, HALF)
    image = jnp.zeros((1, 64, 64, 3), jnp.uint8)
    params = jax.jit(lambda: vit.init(jax.random.key(0), image, train=False))()["params"]
    for name, values in tiny.flat(params).items():
        expected = next((x for end, x in deviations.items() if name.endswith(end)), 0.0)
        assert values.std() == pytest.approx(expected, rel=0.25), name
        mean = float(name.endswith("scale"))
        assert values.mean() == pytest.approx(mean, abs=5 * expected / values.size**0.5), name


@pytest.mark.parametrize("gelu", ["tanh", "exact"])
def test_logits_agree_with_float64(rng, gelu):
    vit, images = tiny.tiny_vit(gelu=gelu), tiny.random_images(rng)
    params = tiny.random_params(vit, rng, images)
    logits = tiny.apply(vit, params, images, train=False)
    for image, found in zip(images, logits, strict=True):
        expected = oracles.vit(tiny.flat(params), tiny.normalized(image), tiny.STRIDE, gelu).logits
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_class_rows_agree_with_float64_to_1e_4_log_units(rng):
    vit, images = tiny.tiny_vit(), tiny.random_images(rng)
    params = tiny.random_params(vit, rng, images)

    for name, describe in DESCRIPTORS.items():

        def rows(module, x, describe=describe, all_tokens=name == "full_map"):
            patches = module.embed(module.normalize(x))
            observe = Summary(describe)
            _, layers = module.encode(patches, train=False, all_tokens=all_tokens, observe=observe)
            return [jnp.stack(of_layers, axis=1) for of_layers in zip(*layers, strict=True)]

        log_rows, descriptor = tiny.apply(vit, params, images, method=rows)
        for row, image in enumerate(images):
            log_attention = oracles.vit(
                tiny.flat(params), tiny.normalized(image), tiny.STRIDE, "exact"
            ).log_attention
            np.testing.assert_allclose(log_rows[row], log_attention[:, :, 0, 1:], atol=1e-4)
            found = np.asarray(descriptor[row], np.float64)
            found = (found - found.mean()) / (found.std() + 1e-6)
            expected = oracles.descriptor(log_attention, name)
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_full_map_is_exact_over_several_chunks_of_queries(rng):
    query, key = (rng.normal(size=(2, 300, 2, 4)).astype(np.float32) for _ in range(2))
    scores = np.einsum("bqhd,bkhd->bhqk", query, key, dtype=np.float64) / 2
    expected = oracles.log_softmax(scores, -1).sum(axis=1).mean(axis=(1, 2))
    unused = np.zeros((2, 2, 299), np.float32)
    found = DESCRIPTORS["full_map"](jnp.array(query), jnp.array(key), jnp.array(unused))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_class_row_s_descriptor_is_the_mean_of_its_log_product(rng):
    log_row = rng.normal(size=(2, 3, 10)).astype(np.float32)
    unused = jnp.zeros((2, 11, 3, 4))
    found = DESCRIPTORS["class_row"](unused, unused, jnp.array(log_row))
    expected = log_row.astype(np.float64).sum(axis=1).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_last_block_for_the_class_token_alone_is_exact(rng):
    vit, images = tiny.tiny_vit(), tiny.random_images(rng)
    params = tiny.random_params(vit, rng, images)

    def logits(params, all_tokens):
        def run(module, x):
            tokens, _ = module.encode(
                module.embed(module.normalize(x)), train=False, all_tokens=all_tokens
            )
            assert tokens.shape[1] == (50 if all_tokens else 1)
            return module.classify(class_feature(tokens))

        return tiny.apply(vit, params, images, method=run)

    np.testing.assert_allclose(logits(params, False), logits(params, True), atol=1e-5)
    short, long = (
        jax.jit(jax.grad(lambda p, a=a: (logits(p, a) ** 2).sum()))(params) for a in (False, True)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-3), short, long)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32_and_returns_float32(rng, dtype):
    images = tiny.random_images(rng)
    params = tiny.random_params(tiny.tiny_vit(), rng, images)
    exact = np.asarray(tiny.apply(tiny.tiny_vit(), params, images, train=False))
    vit = tiny.tiny_vit(dtype=jnp.dtype(dtype))
    half = tiny.apply(vit, params, images, train=False)
    assert half.dtype == jnp.float32
    read = partial(vit.apply, train=False, method="features")
    assert jax.eval_shape(read, {"params": params}, images).dtype == jnp.float32
    assert np.linalg.norm(half - exact) / np.linalg.norm(exact) < 0.03


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (8, 0), (8, 5)])
def test_impossible_patches_are_refused_with_the_remedy(size, stride):
    with pytest.raises(ValueError, match=r"use (at least 4 px|1 to 4)"):
        tiny.VARIANT.patches_per_side(size, stride)


def test_deit_tiny_agrees_with_float64_on_a_real_photo(real):
    """And names it: an albatross is ImageNet class 146."""
    arrays = read_npz(real / "deit_tiny_patch16_224.npz")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    vit = ViT(VARIANTS["ti16"], 1000, 224, 16, "exact", mean, std)
    photo = sorted((real / "cub10" / "CUB_200_2011" / "images").glob("001*/*.jpg"))[0]
    image = np.asarray(Image.open(photo).convert("RGB").resize((224, 224)))
    shapes = jax.eval_shape(lambda: vit.init(jax.random.key(0), image[None], train=False))
    params, notes, _ = fit_to_model(arrays, shapes["params"], keep_head=True)
    assert notes == ()
    params = jax.tree.map(jnp.asarray, params)
    found = np.asarray(tiny.apply(vit, params, image[None], train=False))[0]
    expected = oracles.vit(arrays, (image / 255 - mean) / std, 16, "exact").logits
    assert np.abs(found - expected).max() <= 1e-4
    assert found.argmax() == 146
