"""Names of timm and Hugging Face: what is another function is refused, and what is left out said.

That the rest is the same function, tests/golden/test_families.py shows.
"""

import json

import numpy as np
import pytest

from aftrans_jax.weights.arrays import to_float32
from aftrans_jax.weights.layouts import POSITIONS
from aftrans_jax.weights.origins import as_text, converted_origin, from_text
from aftrans_jax.weights.sidecar_files import (
    ModelSize,
    SidecarConfig,
    check_model_name,
    sidecar_config,
)
from aftrans_jax.weights.state_dicts import from_state_dict, size_of

HIDDEN, MLP, LAYERS = 64, 96, 2


@pytest.fixture
def arrays(rng):
    """A tiny ViT under timm's names: 3 x 3 patches of 4 px, 5 classes."""
    shapes = {
        "cls_token": (1, 1, HIDDEN),
        "pos_embed": (1, 10, HIDDEN),
        "patch_embed.proj.weight": (HIDDEN, 3, 4, 4),
        "patch_embed.proj.bias": (HIDDEN,),
        "norm.weight": (HIDDEN,),
        "norm.bias": (HIDDEN,),
        "head.weight": (5, HIDDEN),
        "head.bias": (5,),
    }
    linear = {"attn.qkv": (3 * HIDDEN, HIDDEN), "attn.proj": (HIDDEN, HIDDEN)}
    linear |= {"mlp.fc1": (MLP, HIDDEN), "mlp.fc2": (HIDDEN, MLP)}
    for layer in range(LAYERS):
        for name in ("norm1", "norm2"):
            shapes[f"blocks.{layer}.{name}.weight"] = shapes[f"blocks.{layer}.{name}.bias"] = (
                HIDDEN,
            )
        for name, shape in linear.items():
            shapes[f"blocks.{layer}.{name}.weight"] = shape
            shapes[f"blocks.{layer}.{name}.bias"] = shape[:1]
    return {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def named(arrays, heads=None):
    found = from_state_dict(arrays, heads=heads)
    return to_float32(found.arrays), found.notes


def test_heads_are_of_64_numbers_unless_more_is_known(arrays):
    found, notes = named(arrays)
    assert found[
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
    ].shape == ((64, 1, 64))
    assert "1 heads of 64 assumed: no array tells their number" in notes
    found, notes = named(arrays, heads=4)
    assert found["Transformer/encoderblock_1/MultiHeadDotProductAttention_1/out/kernel"].shape == (
        (4, 16, 64)
    )
    assert not any("heads" in note for note in notes)
    with pytest.raises(ValueError, match="a width of 64 is no multiple of 5 heads: expected"):
        named(arrays, heads=5)


def test_a_width_that_is_no_multiple_of_64_does_not_tell_the_heads(arrays):
    """A width of 96, which mini8 splits into 3 heads."""
    arrays = {
        name: np.ones([side * 3 // 2 if side % 64 == 0 else side for side in x.shape], "f4")
        for name, x in arrays.items()
    }
    with pytest.raises(ValueError, match="a width of 96 does not tell the heads: expected a mul"):
        named(dict(arrays))
    assert "Transformer/encoderblock_0/LayerNorm_0/bias" in named(arrays, heads=3)[0]


SURPLUS = {
    "blocks.0.attn.relative_position_bias_table": r"has relative positions in its attention \(BEiT",
    "blocks.0.attn.rel_pos.mlp.fc1.weight": "has relative positions",
    "rope.periods": r"has rotary positions \(RoPE\)",
    "blocks.1.mlp.w12.weight": r"has a gated MLP \(SwiGLU\)",
    "blocks.0.attn.q_norm.weight": r"normalises queries and keys \(QK-norm\)",
    "blocks.0.attn.norm.weight": "normalises inside attention or MLP",
    "fc_norm.weight": r"averages the patches and normalises the mean \(fc_norm\)",
    "attn_pool.latent": r"pools by attention \(attn_pool\)",
    "norm_pre.weight": r"normalises the tokens before the first block \(CLIP\)",
    "blocks.0.attn.q_bias": "is of BEiT's or EVA's kind",
    "blocks.0.adapter.weight": "the file has what a plain ViT has not: blocks.0.adapter.weight",
    "blocks.4.norm1.weight": r"blocks\.2\.norm1\.weight is missing, and later",
}


@pytest.mark.parametrize("name", SURPLUS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_another_function_is_refused_by_name(arrays, name, prefix):
    arrays = {prefix + key: x for key, x in {**arrays, name: np.ones(3, "f4")}.items()}
    with pytest.raises(ValueError, match=SURPLUS[name]):
        named(arrays)


ABSENT = {
    "cls_token": "has no class token",
    "pos_embed": "adds no positions to its tokens .*rotary",
    "blocks.1.attn.proj.weight": r"the file has no blocks\.1\.attn\.proj\.weight",
    "blocks.1.attn.qkv.bias": r"1 of 2 layers have no blocks\.N\.attn\.qkv\.bias: the file is",
    "norm.bias": r"the file has no norm\.bias",
}


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_absent_is_named(arrays, name):
    del arrays[name]
    with pytest.raises(ValueError, match=ABSENT[name]):
        named(arrays)


def test_a_packed_gate_is_known_by_its_shape(arrays):
    """timm's DINOv2 giant has the names of a plain MLP."""
    arrays["blocks.0.mlp.fc2.weight"] = np.ones((HIDDEN, MLP // 2), "f4")
    with pytest.raises(
        ValueError, match=r"fc2\.weight has .* \(64, 96\): its MLP is gated \(SwiGLU"
    ):
        named(arrays)


def test_positions_that_are_no_grid_are_refused(arrays):
    arrays["pos_embed"] = np.ones((1, 13, HIDDEN), "f4")
    with pytest.raises(ValueError, match="13 positions are no square grid"):
        named(arrays)


def test_positions_without_the_class_token_s_get_a_row_of_zeros(arrays):
    whole, _ = named(dict(arrays))
    arrays["pos_embed"] = arrays["pos_embed"][:, 1:]
    found, _ = named(arrays)
    assert not found[POSITIONS][:, 0].any()
    np.testing.assert_array_equal(found[POSITIONS][:, 1:], whole[POSITIONS][:, 1:])


def test_more_layers_than_any_vit_has_are_refused(arrays, monkeypatch):
    monkeypatch.setattr("aftrans_jax.weights.state_dicts.MAX_LAYERS", LAYERS)
    named(dict(arrays))
    monkeypatch.setattr("aftrans_jax.weights.state_dicts.MAX_LAYERS", LAYERS - 1)
    with pytest.raises(ValueError, match="it has more than 1 layers: expected a plain ViT"):
        named(arrays)


def test_a_layer_that_is_missing_is_named(arrays):
    arrays = {name.replace("blocks.1.", "blocks.2."): x for name, x in arrays.items()}
    with pytest.raises(ValueError, match=r"blocks\.1\.norm1\.weight is missing, and later"):
        named(arrays)


def test_layer_scale_of_some_layers_is_not_whole(arrays):
    arrays |= {f"blocks.0.ls{i}.gamma": np.ones(HIDDEN, "f4") for i in (1, 2)}
    with pytest.raises(ValueError, match="1 of 2 layers have no LayerScale"):
        named(arrays)


def test_of_two_models_the_averaged_one_is_read_or_both_are_named(arrays):
    both = {f"state_dict/{name}": x + 1 for name, x in arrays.items()}
    both |= {f"state_dict_ema/{name}": x for name, x in arrays.items()}
    found, notes = named(both)
    np.testing.assert_array_equal(found["cls"], arrays["cls_token"])
    assert "arrays read from below state_dict_ema/" in notes
    both = {name.replace("_ema", "_2"): x for name, x in both.items()}
    with pytest.raises(ValueError, match="holds 2 models, below 'state_dict/', 'state_dict_2/'"):
        named(both)


@pytest.mark.parametrize("other", ["schema.model.", "teachers/", "database_encoder."])
def test_a_part_of_a_word_tells_nothing_of_two_models(arrays, other):
    both = {f"model.{name}": x for name, x in arrays.items()}
    both |= {f"{other}{name}": x for name, x in arrays.items()}
    with pytest.raises(ValueError, match="it holds 2 models, below 'model"):
        named(both)


def small(arrays):
    """Arrays of the names of one block of ViT-S, whose width is 384."""
    rng = np.random.default_rng(0)
    wide = {
        name: tuple(6 * side if side % 64 == 0 else side for side in x.shape)
        for name, x in arrays.items()
    }
    return {name: rng.normal(size=shape).astype("f4") for name, shape in wide.items()}


def test_moco_v3_has_twelve_heads_and_its_base_encoder_is_read(arrays):
    """vits.py of facebookresearch/moco-v3: vit_small has embed_dim=384, num_heads=12."""
    own = small(arrays)
    for name in ("head.weight", "head.bias"):
        own.pop(name, None)
    both = {f"state_dict/module.momentum_encoder.{name}": x + 1 for name, x in own.items()}
    both |= {f"state_dict/module.base_encoder.{name}": x for name, x in own.items()}
    projector = {"head.0.weight": np.ones((8, 384), "f4"), "head.1.running_mean": np.ones(8, "f4")}
    both |= {f"state_dict/module.base_encoder.{name}": x for name, x in projector.items()}
    found, notes = named(both)
    query = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
    assert found[query].shape == (384, 12, 32)
    np.testing.assert_array_equal(found["cls"], own["cls_token"])
    assert "12 heads of 32 assumed: no array tells their number" in notes
    alone = {f"state_dict/module.{name}": x for name, x in own.items()}
    with pytest.raises(ValueError, match=r"6 heads of most models and 12 of MoCo.*--heads=6"):
        named(alone)
    assert named(alone, heads=12)[0][query].shape == (384, 12, 32)
    dino = {f"teacher/module.backbone.{name}": x for name, x in own.items()}
    assert named(dino)[0][query].shape == (384, 6, 64)


def test_an_old_pre_logits_layer_keeps_its_name(arrays):
    arrays |= {
        "pre_logits.fc.weight": np.eye(HIDDEN, dtype="f4"),
        "pre_logits.fc.bias": np.ones(HIDDEN),
    }
    assert "pre_logits/kernel" in named(arrays)[0]


def test_integers_are_refused_as_ever(arrays):
    arrays["blocks.0.attn.qkv.weight"] = np.ones((3 * HIDDEN, HIDDEN), int)
    with pytest.raises(ValueError, match=r"query/kernel \(int64\)"):
        named(arrays)


# ------------------------------------------------------------------ what lies beside, and names


def told(tmp_path, config, pixels=None, size=None):
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if pixels is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels))
    return sidecar_config(tmp_path / "model.safetensors", size)


def test_hugging_face_s_files_tell(tmp_path):
    config = {"model_type": "vit", "num_attention_heads": 3, "hidden_act": "gelu_pytorch_tanh"}
    found = told(tmp_path, config | {"layer_norm_eps": 1e-12}, {"image_mean": [0.1, 0.2, 0.3]})
    assert found[:5] == ("vit", 3, "tanh", (0.1, 0.2, 0.3), None)
    assert found.notes == (
        "told by config.json: vit, 3 heads",
        "LayerNorm's epsilon is 1e-6, the file's model had 1e-12",
    )
    found = told(tmp_path, config, {"do_normalize": False, "image_mean": [0.1, 0.2, 0.3]})
    assert (found.mean, found.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("name", "gelu"), [("gelu", "exact"), ("gelu_new", "tanh"), ("gelu_fast", "tanh")]
)
def test_hugging_face_s_names_of_the_gelu(tmp_path, name, gelu):
    """The names in its ACT2FN: the first uses erf, the others tanh."""
    assert told(tmp_path, {"model_type": "vit", "hidden_act": name}).gelu == gelu


REFUSED = [
    ({"model_type": "x", "hidden_act": "quick_gelu"}, r"x, has hidden_act='quick_gelu': expected"),
    ({"model_type": "x", "hidden_act": ["gelu"]}, r"x, has hidden_act=\['gelu'\]: expected"),
    ({"model_type": "x", "hidden_act": None}, r"x, has hidden_act=None: expected"),
    ({"model_type": "x", "num_attention_heads": "3"}, "num_attention_heads='3': expected a count"),
    ({"pretrained_cfg": {}, "architecture": "vit_small_patch16_rope_224"}, "rope_224, has rotary"),
    (
        {"pretrained_cfg": {}, "architecture": "vit_base_patch32_clip_quickgelu_224"},
        "neither exact",
    ),
    ({"pretrained_cfg": {}, "architecture": "x", "global_pool": "avg"}, "x, pools by avg"),
    ({"architecture": "vit_base_patch16_rope_224", "mean": [0.5] * 3}, "rope_224, has rotary"),
    ({"architecture": "x", "model_args": {"act_layer": "quick_gelu"}}, "act_layer='quick_gelu'"),
    ({"pretrained_cfg": {"mean": [1, 2]}}, r"has mean=\[1, 2\]: expected three numbers"),
    ({"pretrained_cfg": {"std": [0, 1, 1]}}, r"has std=\[0, 1, 1\]: expected three numbers"),
    ("{", r"config\.json beside it is no JSON"),
    ("[" * 100_000, r"config\.json beside it is no JSON"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED)
def test_what_is_told_and_cannot_be_used_is_named(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        told(tmp_path, config)


OTHER_SIZES = [
    ({"model_type": "vit", "hidden_size": 1024, "num_hidden_layers": 2}, "hidden_size=1024"),
    ({"model_type": "vit", "hidden_act": "x", "num_hidden_layers": 24}, "num_hidden_layers=24"),
    ({"pretrained_cfg": {}, "architecture": "x_rope", "num_features": "64"}, "num_features='64'"),
]


@pytest.mark.parametrize(("config", "given"), OTHER_SIZES)
def test_a_configuration_of_another_size_is_passed_over(arrays, tmp_path, config, given):
    size = size_of({f"module.{name}": x for name, x in arrays.items()})
    assert size == ModelSize(HIDDEN, LAYERS)
    found = told(tmp_path, config, {"image_mean": [0.1, 0.2, 0.3]}, size)
    (note,) = found.notes
    assert found._replace(notes=()) == SidecarConfig()
    assert note.startswith(
        f"config.json beside it passed over, it is another model's: {given}, the"
    )


def test_a_configuration_of_the_file_s_size_is_used(tmp_path):
    config = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}, "architecture": "x", "num_features": 64}
    found = told(tmp_path, config, size=ModelSize(64, 2))
    assert (found.mean, found.notes) == ((0.1, 0.2, 0.3), ("told by config.json: x",))


def test_an_older_configuration_of_timm_has_all_in_one(tmp_path):
    config = {"architecture": "vit_x", "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 10}
    found = told(tmp_path, config | {"model_args": {"act_layer": "gelu_tanh", "num_heads": 3}})
    assert found[:5] == ("vit_x", 3, "tanh", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_configuration_of_something_else_is_passed_over(tmp_path):
    assert told(tmp_path, []) == sidecar_config(tmp_path / "y" / "x.pth", None) == SidecarConfig()
    assert told(tmp_path, {"architecture": "x", "pretrained_cfg": None}).notes[0].endswith("Face's")
    (note,) = told(tmp_path, {"train": 1}).notes
    assert note == "config.json beside it passed over, it is neither timm's nor Hugging Face's"


@pytest.mark.parametrize("name", ["rope_axial_ape_deit_small_patch16_LS", "vit.quickgelu"])
def test_a_name_of_another_function_is_refused(name):
    with pytest.raises(ValueError, match=f"the model of this file, {name}, has"):
        check_model_name(name)


OTHERS = {
    "layer1.0.conv1.weight": "is a ResNet or another convolutional network",
    "stages.0.blocks.0.conv_dw.weight": "is a ResNet or another convolutional network",
    "layers.0.blocks.0.attn.relative_position_bias_table": "is a Swin Transformer or another",
    "features.1.0.attn.relative_position_bias_table": "is a Swin Transformer or another",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_of_another_architecture_is_named(name):
    arrays = {name: np.ones(3, "f4"), "norm.weight": np.ones(3, "f4")}
    with pytest.raises(ValueError, match=OTHERS[name]):
        from_state_dict(arrays, heads=None)


def test_other_names_are_passed():
    for name in ("europe_birds", "ropes", "deit_small_patch16_224", "tropen.pth"):
        check_model_name(name)


HALVES, IMAGENET = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
STD = {HALVES: HALVES, IMAGENET: (0.229, 0.224, 0.225), (0.0, 0.0, 0.0): (1.0, 1.0, 1.0)}


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("vit_base_patch16_224.augreg_in21k", HALVES),
        ("dinov2_vits14_pretrain.pth", IMAGENET),
        ("x.pth", IMAGENET),
        # As timm's table of its models says.
        ("vit_base_patch16_224.orig_in21k_ft_in1k", HALVES),
        ("vit_base_patch16_224.sam_in1k", HALVES),
        ("vit_small_patch16_384", HALVES),
        ("vit_base_patch16_224.dino", IMAGENET),
        ("vit_huge_patch14_224.mae", IMAGENET),
        ("deit3_base_patch16_224.fb_in22k_ft_in1k", IMAGENET),
        ("vit_base_patch16_224_miil.in21k", (0.0, 0.0, 0.0)),
        ("jx_vit_base_p16_224-80ecf9dd.pth", HALVES),
        ("B_16-i21k-300ep-lr_0.001.pth", HALVES),
        # What was trained last counts; a part of a word does not.
        ("mae_on_augreg_in21k.pth", IMAGENET),
        ("sample.pth", IMAGENET),
    ],
)
def test_without_configuration_the_name_tells_pixel_values(arrays, name, mean):
    naming = from_state_dict(arrays, heads=None).naming
    found = converted_origin(name, naming, SidecarConfig())
    assert (found.gelu, found.mean, found.std) == ("exact", mean, STD[mean])
    assert ("not told" in found.reason) == (name in ("x.pth", "sample.pth"))
    assert from_text(as_text(found).encode()) == found
    with pytest.raises(ValueError, match="write the file again"):
        from_text(as_text(found._replace(size=0)).encode())


def test_names_tell_before_hugging_face_s_architecture(arrays):
    naming, vit = from_state_dict(arrays, heads=None).naming, SidecarConfig(architecture="vit")
    for name, mean in (("dino-vitb16", IMAGENET), ("vit-base", HALVES)):
        found = converted_origin(name, naming, vit)
        assert (found.mean, found.std) == (mean, STD[mean])


@pytest.mark.parametrize("text", [b"", b"a comment", b"{}", b"[1]", b'"x"'])
def test_another_zip_comment_is_no_record(text):
    assert from_text(text) is None
    broken = b'{"gelu": "relu", "mean": [1, 1, 1], "std": [1, 1, 1], "reason": ""}'
    with pytest.raises(ValueError, match="cannot be used: write the file again"):
        from_text(broken)
