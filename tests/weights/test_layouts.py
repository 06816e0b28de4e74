"""Other layouts of the same arrays: prefixes, big_vision's names, stacked blocks, bfloat16."""

import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from tiny import VARIANT, apply, assert_same, param_shapes, tiny_vit

from aftrans_jax.weights.arrays import to_float32
from aftrans_jax.weights.fitting import fit_to_model, resize_positions
from aftrans_jax.weights.layouts import POSITIONS, official_names
from aftrans_jax.weights.npz import open_npz
from aftrans_jax.weights.origins import (
    DEIT,
    DEIT_IN_BIG_VISION,
    OFFICIAL,
    disagreements,
    npz_origin,
)


def in_big_vision(arrays) -> dict[str, np.ndarray]:
    """The same function under big_vision's names: a class token's position is part of the token."""
    named = {}
    for name, array in arrays.items():
        for official, theirs in (
            ("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0"),
            ("LayerNorm_2", "LayerNorm_1"),
            ("MlpBlock_3", "MlpBlock_0"),
            (POSITIONS, "pos_embedding"),
        ):
            name = name.replace(official, theirs)
        named[name] = array
    named["cls"] = arrays["cls"] + arrays[POSITIONS][:, :1]
    named["pos_embedding"] = arrays[POSITIONS][:, 1:]
    return named


def stacked(arrays) -> dict[str, np.ndarray]:
    """Blocks as `nn.scan` keeps them."""
    blocks, named = {}, {}
    for name, array in arrays.items():
        match = re.fullmatch(r"Transformer/encoderblock_(\d+)/(.*)", name)
        if match:
            blocks.setdefault(match[2], {})[int(match[1])] = array
        else:
            named[name] = array
    for name, layers in blocks.items():
        named[f"Transformer/encoderblock/{name}"] = np.stack([layers[i] for i in sorted(layers)])
    return named


PREFIXES = ["params/", "opt/target/", "optimizer/target/", "model/", "model/params/"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_read_and_said(expected, arrays, prefix):
    found = official_names({prefix + name: array for name, array in arrays.items()})
    assert found.notes == (f"arrays read from below {prefix}",)
    assert not found.big_vision
    assert_same(fit_to_model(found.arrays, expected, keep_head=True).params, arrays)


def test_the_state_beside_a_prefix_is_left_out_unread(tmp_path, expected, arrays):
    state = {"opt/state/step": np.int64(3), "opt/state/0/embedding/kernel": np.ones(7)}
    below = {f"opt/target/{name}": array for name, array in arrays.items()}
    np.savez(tmp_path / "x.npz", **below, **state)
    with open_npz(tmp_path / "x.npz") as lazy:
        found = official_names(lazy)
        assert found.notes[1] == (
            "left out 2 arrays of the training's state, such as opt/state/step"
        )
        assert_same(fit_to_model(found.arrays, expected, keep_head=True).params, arrays)


def test_what_is_beside_a_prefix_and_no_state_is_refused(expected, arrays):
    below = {f"params/{name}": array for name, array in arrays.items()}
    found = official_names({**below, "surplus": np.ones(3)})
    with pytest.raises(ValueError, match="not expected: surplus"):
        fit_to_model(found.arrays, expected, keep_head=True)


@pytest.mark.parametrize("prefix", ["", "params/"])
@pytest.mark.parametrize("change", [dict, stacked])
def test_big_vision_s_names_are_the_same_function(tmp_path, expected, arrays, prefix, change, rng):
    theirs = {prefix + name: array for name, array in change(in_big_vision(arrays)).items()}
    np.savez(tmp_path / "x.npz", **theirs)
    with open_npz(tmp_path / "x.npz") as lazy:
        found = official_names(lazy)
        params = fit_to_model(found.arrays, expected, keep_head=True).params
    assert found.big_vision
    assert found.notes[-1] == "big_vision's names read as the official ones"
    flat = flatten_dict(params, sep="/")
    moved = {"cls", POSITIONS}
    assert_same(
        {name: array for name, array in flat.items() if name not in moved},
        {name: array for name, array in arrays.items() if name not in moved},
    )
    images = rng.integers(0, 256, (2, 22, 22, 3), dtype=np.uint8)
    apply = jax.jit(lambda params: tiny_vit().apply({"params": params}, images, train=False))
    original = fit_to_model(arrays, expected, keep_head=True).params
    np.testing.assert_allclose(apply(params), apply(original), atol=1e-5)


class Block(nn.Module):
    """big_vision's block, written from its description; only names and function matter here."""

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=VARIANT.heads)(y, y)
        y = nn.LayerNorm()(x)
        return x + MlpBlock()(y)


class MlpBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(VARIANT.mlp)(x))
        return nn.Dense(VARIANT.hidden)(x)


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, x):
        for layer in range(VARIANT.layers):
            x = Block(name=f"encoderblock_{layer}")(x)
        return nn.LayerNorm(name="encoder_norm")(x)


class BigVision(nn.Module):
    """Its ViT with pooling "tok": positions first, then the class token."""

    @nn.compact
    def __call__(self, x):
        patch = (VARIANT.patch_size,) * 2
        x = nn.Conv(VARIANT.hidden, patch, strides=patch, padding="VALID", name="embedding")(x)
        x = x.reshape(x.shape[0], -1, VARIANT.hidden)
        shape = (1, x.shape[1], VARIANT.hidden)
        x = x + self.param("pos_embedding", nn.initializers.normal(1), shape)
        cls = self.param("cls", nn.initializers.normal(1), (1, 1, VARIANT.hidden))
        x = jnp.concatenate([jnp.tile(cls, (x.shape[0], 1, 1)), x], axis=1)
        return nn.Dense(5, name="head")(Transformer(name="Transformer")(x)[:, 0])


def test_a_model_of_big_vision_gives_the_same_logits(rng):
    images = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    pixels = np.asarray(images / 127.5 - 1, np.float32)
    theirs = BigVision()
    params = jax.jit(theirs.init)(jax.random.key(0), pixels)["params"]
    model = tiny_vit().clone(
        image_size=20, stride=4, gelu="tanh", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    flat = {name: np.asarray(array) for name, array in flatten_dict(params, sep="/").items()}
    found = official_names(flat)
    fitted = fit_to_model(found.arrays, param_shapes(model), keep_head=True)
    on_device = jax.tree.map(jnp.asarray, fitted.params)
    ours = apply(model, on_device, images, train=False)
    expected = jax.jit(theirs.apply)({"params": params}, pixels)
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_positions_of_before_2022_in_the_encoder_are_read(expected, arrays):
    theirs = in_big_vision(arrays)
    theirs["cls"] = arrays["cls"]
    theirs["Transformer/pos_embedding"] = arrays[POSITIONS]
    del theirs["pos_embedding"]
    found = official_names(theirs)
    assert_same(fit_to_model(found.arrays, expected, keep_head=True).params, arrays)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "MAPHead_0/probe",
            r"pools by an attention head \(MAPHead_0\).* \(it has MAPHead_0/probe\)",
        ),
        ("MixerBlock_0/LayerNorm_0/bias", "is an MLP-Mixer"),
        ("block1/unit1/conv1/kernel", r"begins with a ResNet \(the hybrid R50\+ViT\)"),
        ("blocks.0.attn.qkv.weight", "has names like timm's, but not those of its plain ViT"),
        ("vit/encoder/layer/0/output/dense/kernel", "has names like those of Hugging Face, torchv"),
        (
            "transformer.encoder.layer.0.attn.query.weight",
            "has names like those of .* or TransFG in PyTorch",
        ),
        ("encoder.layers.encoder_layer_0.ln_1.weight", "has names like those of Hugging Face, tor"),
    ],
)
def test_another_model_is_named(arrays, name, message):
    with pytest.raises(ValueError, match=f"the model of this file {message}"):
        official_names({**arrays, name: np.ones(3)})


def test_pooling_without_a_class_token_is_named(arrays):
    theirs = in_big_vision(arrays)
    del theirs["cls"]
    with pytest.raises(ValueError, match=r"has no class token \(big_vision's pooling 'gap'\)"):
        official_names(theirs)


@pytest.mark.parametrize("shape", [(), (2,), (300,), (10**9, 0)])
def test_stacked_blocks_of_odd_shapes_are_refused(arrays, shape):
    theirs = stacked(in_big_vision(arrays))
    theirs["Transformer/encoderblock/LayerNorm_0/bias"] = np.empty(shape, np.float32)
    with pytest.raises(ValueError, match=r"the stacked blocks below .* have first axes of"):
        official_names(theirs)


def test_stacked_blocks_of_more_layers_than_any_vit_has_are_refused(monkeypatch, arrays):
    theirs = stacked(in_big_vision(arrays))
    monkeypatch.setattr("aftrans_jax.weights.layouts.MAX_LAYERS", VARIANT.layers)
    official_names(theirs)
    monkeypatch.setattr("aftrans_jax.weights.layouts.MAX_LAYERS", VARIANT.layers - 1)
    with pytest.raises(ValueError, match=r"first axes of \[3\]: expected .*, 1 to 2, in all"):
        official_names(theirs)


def test_a_file_with_both_names_of_a_module_is_refused(expected, arrays):
    surplus = {"Transformer/encoderblock_0/LayerNorm_1/bias": np.ones(12)}
    found = official_names({**arrays, **surplus})
    with pytest.raises(ValueError, match="not expected: Transformer/encoderblock_0/LayerNorm_1"):
        fit_to_model({**found.arrays}, expected, keep_head=True)


def test_bfloat16_is_read_and_said(tmp_path, expected, arrays):
    halves = {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}
    np.savez(tmp_path / "x.npz", **stacked(in_big_vision(halves)))
    with open_npz(tmp_path / "x.npz") as lazy:
        found = official_names(lazy)
        assert "bfloat16 read as float32" in found.notes
        read = to_float32(found.arrays)
    name = "Transformer/encoderblock_2/MlpBlock_3/Dense_0/kernel"
    np.testing.assert_array_equal(read[name], halves[name].astype(np.float32))


def test_official_arrays_stay_as_they_are(arrays):
    found = official_names(arrays)
    assert (found.notes, found.big_vision) == ((), False)
    assert found.arrays == arrays


def test_stacked_positions_of_another_grid_are_resized(expected, arrays, rng):
    theirs = in_big_vision(arrays)
    theirs["pos_embedding"] = rng.normal(size=(1, 9, 12)).astype(np.float32)
    params = fit_to_model(official_names(theirs).arrays, expected, keep_head=True).params
    padded = np.concatenate([np.zeros((1, 1, 12), np.float32), theirs["pos_embedding"]], 1)
    resized = params["Transformer"]["posembed_input"]["pos_embedding"]
    np.testing.assert_array_equal(resized, resize_positions(padded, 50))


# --------------------------------------------------------------------------------- where it is from


@pytest.mark.parametrize(
    ("name", "big_vision", "known"),
    [
        ("deit_tiny_patch16_224.npz", False, DEIT),
        ("DeiT-B.npz", False, DEIT),
        ("bv_deit_3_small_224_1k.npz", True, DEIT_IN_BIG_VISION),
        ("ViT-B_16.npz", False, OFFICIAL),
        ("vit_s16.npz", True, OFFICIAL),
    ],
)
def test_a_file_s_name_tells_how_it_was_trained(name, big_vision, known):
    found = npz_origin(name, big_vision=big_vision)
    assert found == known
    assert disagreements(found, gelu=found.gelu, mean=list(found.mean), std=found.std) == ()


def test_what_disagrees_is_said_with_the_remedy():
    lines = disagreements(DEIT, gelu="tanh", mean=(0.5, 0.5, 0.5), std=DEIT.std)
    assert lines == (
        "model.gelu is tanh: set --config.model.gelu=exact unless the file comes from elsewhere "
        f"({DEIT.reason})",
        "data.mean is '(0.5,0.5,0.5)': set --config.data.mean='(0.485,0.456,0.406)' unless the file"
        f" comes from elsewhere ({DEIT.reason})",
    )
