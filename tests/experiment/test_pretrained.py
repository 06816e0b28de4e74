"""Initial parameters from a file: the head, the variant, and messages for the user."""

import re

import numpy as np
import pytest
from experiments import tiny_config, tiny_variants
from flax.traverse_util import flatten_dict

from aftrans_jax.experiment.model import build_model, initial_params
from aftrans_jax.experiment.weights_checks import (
    ImageSizes,
    check_variant,
    local_size_doubts,
    variant_doubts,
)
from aftrans_jax.weights.npz import save_npz

NUM_CLASSES = 7


def start(path="", num_classes=NUM_CLASSES, **changes):
    config = tiny_config(**{"pretrained": str(path), "model__name": "vit"} | changes)
    with tiny_variants():
        return initial_params(config, build_model(config, num_classes, np.dtype("float32")))


@pytest.fixture(scope="module")
def trunk():
    """Weights of the tiny trunk, its head of ones."""
    params = start()[0]["vit"]
    params["head"] = {"kernel": np.ones((12, NUM_CLASSES)), "bias": np.ones(NUM_CLASSES)}
    return params


@pytest.fixture
def path(tmp_path, trunk):
    save_npz(tmp_path / "x.npz", trunk)
    return tmp_path / "x.npz"


def test_a_new_head_is_zero_also_for_as_many_classes(path, trunk):
    params, notes = start(path)
    assert not params["vit"]["head"]["kernel"].any()
    assert not params["vit"]["head"]["bias"].any()
    np.testing.assert_array_equal(params["vit"]["cls"], trunk["cls"])
    assert notes == (
        "new head for 7 classes (the file has one for 7; pretrained_head=keep would keep it)",
    )


def test_the_head_is_kept_where_that_is_asked_for(path):
    params, notes = start(path, pretrained_head="keep")
    assert (params["vit"]["head"]["kernel"] == 1).all()
    assert notes == ()


def test_a_head_for_other_classes_is_not_kept(path):
    message = r"x\.npz': pretrained_head='keep': the data has 8 classes, the file's head is one"
    with pytest.raises(ValueError, match=message):
        start(path, num_classes=8, pretrained_head="keep")


def test_no_head_is_kept_without_a_file():
    with pytest.raises(ValueError, match="pretrained_head='keep': pretrained is empty, so there"):
        start(pretrained_head="keep")


def test_the_variant_that_would_fit_is_named(tmp_path, trunk):
    """All that tells b32: the other arrays are not looked at."""
    blocks = {
        name.replace("encoderblock_0", f"encoderblock_{layer}"): array
        for name, array in flatten_dict(trunk, sep="/").items()
        if "encoderblock_0" in name
        for layer in range(12)
    }
    block = "Transformer/encoderblock_0"
    shapes = {
        "embedding/kernel": (32, 32, 3, 768),
        f"{block}/MlpBlock_3/Dense_0/kernel": (768, 3072),
        f"{block}/MultiHeadDotProductAttention_1/query/kernel": (768, 12, 64),
    }
    np.savez(tmp_path / "x.npz", **blocks | {name: np.zeros(x) for name, x in shapes.items()})
    config = tiny_config(pretrained=str(tmp_path / "x.npz"), model__variant="b16", model__stride=16)
    with pytest.raises(ValueError, match="the file has patches") as caught:
        initial_params(config, build_model(config, 3, np.dtype("float32")))
    assert str(caught.value).endswith(
        "x.npz': the file has patches of 32 px, width 768, MLP of 3072, 12 layers, 12 heads, "
        "model.variant='b16' has patches of 16 px, width 768, MLP of 3072, 12 layers, 12 heads; "
        "use --config.model.variant=b32; python -m aftrans_jax.convert "
        f"{tmp_path / 'x.npz'} --patch_size=16 --out=x.npz makes a file of patches of 16 px"
    )


def test_a_file_that_no_variant_fits_is_told_so(tmp_path, trunk):
    arrays = {**flatten_dict(trunk, sep="/"), "embedding/kernel": np.zeros((9, 9, 3, 12))}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(
        ValueError,
        match=r"has patches of 9 px, .*, as no variant has; .*convert /.*x\.npz --patch_size=8 ",
    ):
        start(tmp_path / "x.npz")


def test_every_patch_size_that_a_variant_of_the_width_has_is_named():
    """Of a ViT-S with patches of 12 px; a file that is one already has nothing to be said of it."""
    block = "Transformer/encoderblock_{}"
    arrays = {f"{block.format(layer)}/LayerNorm_0/bias": np.zeros(384) for layer in range(12)}
    arrays |= {
        "embedding/kernel": np.zeros((12, 12, 3, 384)),
        f"{block.format(0)}/MlpBlock_3/Dense_0/kernel": np.zeros((384, 1536)),
        f"{block.format(0)}/MultiHeadDotProductAttention_1/query/kernel": np.zeros((384, 6, 64)),
    }
    for variant, wanted in (("b16", ["16", "32", "8", "14"]), ("s14", ["14"])):
        with pytest.raises(ValueError, match="as no variant has; python") as caught:
            check_variant(variant, arrays)
        found = re.findall(r"convert SOURCE --patch_size=(\d+) --out=x", str(caught.value))
        assert found == wanted
    (note,) = variant_doubts(arrays)
    assert note == (
        "no variant has patches of 12 px, width 384, MLP of 1536, 12 layers, 6 heads, so no "
        "training takes this file; with other patches there are s16, s32, s8, s14"
    )
    assert variant_doubts(arrays | {"embedding/kernel": np.zeros((8, 8, 3, 384))}) == ()


@pytest.mark.parametrize("name", ["transfg", "rams"])
def test_models_that_would_take_registers_for_patches_refuse_them(name):
    config = tiny_config(model__name=name, model__variant="s14_reg4", model__stride=14)
    message = rf"model\.name='{name}' does not know registers, of which .*'s14_reg4' has 4: use "
    with pytest.raises(ValueError, match=message):
        build_model(config, 3, np.dtype("float32"))


def test_a_deit_file_tells_its_gelu_and_pixels(path):
    deit = path.rename(path.with_name("deit_x.npz"))
    notes = start(deit)[1]
    assert [note.partition(":")[0] for note in notes[1:]] == [
        "model.gelu is tanh",
        "data.mean is '(0.5,0.5,0.5)'",
        "data.std is '(0.5,0.5,0.5)'",
    ]
    settings = {"data__mean": (0.485, 0.456, 0.406), "data__std": (0.229, 0.224, 0.225)}
    assert len(start(deit, model__gelu="exact", **settings)[1]) == 1


def test_a_local_size_that_the_file_was_not_trained_at_is_told(path):
    """The tiny trunk's file is of 32 px; a crop of 24 px is read with resized positions."""
    told = "data.local_size is 24: the file was trained at 32 px"
    for size, model, is_told in ((24, "aftrans", True), (32, "aftrans", False), (24, "vit", False)):
        _, notes = start(path, data__local_size=size, model__name=model)
        assert any(told in note for note in notes) == is_told


def test_a_size_that_files_of_large_images_do_not_have_by_default_is_not_advised():
    assert local_size_doubts(112, ImageSizes(trained=224, default=224))
    assert local_size_doubts(112, ImageSizes(trained=518, default=224)) == ()


def test_the_local_branch_starts_as_the_trunk_on_the_size_of_its_file(path, trunk):
    save_npz(path, trunk | {"cls": np.arange(12, dtype=np.float32).reshape(1, 1, 12)})
    params, _ = start(path, data__local_size=32, model__name="aftrans")
    positions = trunk["Transformer"]["posembed_input"]["pos_embedding"]
    assert positions.std() > 0
    np.testing.assert_array_equal(params["local"]["pos_embedding"], positions)
    smaller, _ = start(path, data__local_size=16, model__name="aftrans")
    assert smaller["local"]["pos_embedding"].shape == (1, 1 + 2 * 2, 12)
    for found in (params, smaller):
        np.testing.assert_array_equal(found["local"]["cls"].ravel(), np.arange(12))


def test_random_weights_are_the_seed_s():
    first, again, other = (start(seed=seed)[0]["vit"]["embedding"]["kernel"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_prefixes_are_read_with_a_note(tmp_path, trunk):
    below = {f"params/{name}": array for name, array in flatten_dict(trunk, sep="/").items()}
    np.savez(tmp_path / "x.npz", **below)
    params, notes = start(tmp_path / "x.npz")
    assert notes[0] == "arrays read from below params/"
    np.testing.assert_array_equal(params["vit"]["cls"], trunk["cls"])
