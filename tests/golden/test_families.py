"""Files of timm, Meta and Hugging Face, in trunks.zip, are the functions that they were there.

`make_trunks.py` wrote them with what those libraries compute, in float64, and says how.
"""

import shutil

import numpy as np
import pytest
from golden.parity import differences

from aftrans_jax.weights.origins import Origin
from aftrans_jax.weights.reading import open_weights

# float32's rounding of numbers up to 3, at most 1.2e-6 here; three times that for another order of
# sums. A bias, position or scale that is left out changes them by 0.01 or more.
ATOL = 4e-6
FAMILIES = 16


@pytest.fixture
def folder(unpacked):
    return unpacked / "trunks"


def test_features_and_logits_are_those_of_the_libraries(folder):
    found = differences(folder)
    assert len(found) == FAMILIES
    for family, row in found.items():
        assert row["scale"] > 1, family
        assert all(row[name] <= ATOL for name in row.keys() - {"scale"}), family


def notes(folder, family):
    with open_weights(str(folder / family)) as weights:
        return weights.notes


def test_what_lies_beside_a_file_tells_gelu_and_pixels(folder):
    for family in ("timm DINOv2", "Hugging Face DINOv2"):
        with open_weights(str(folder / family)) as weights:
            assert weights.origin[:3] == ("exact", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
            assert weights.origin.reason.endswith(", by its configuration")
            assert isinstance(weights.origin, Origin)


def test_a_name_that_misleads_can_be_changed(folder, tmp_path):
    path = tmp_path / "rope_vit.safetensors"
    shutil.copy(folder / "timm DeiT" / "model.safetensors", path)
    message = r"has rotary positions \(RoPE\): expected a plain ViT; rename it if it is one"
    with pytest.raises(ValueError, match=message), open_weights(str(path), heads=2):
        pass
    with open_weights(str(path.rename(tmp_path / "vit.safetensors")), heads=2) as weights:
        assert "cls" in weights.arrays


def test_what_was_changed_is_said(folder):
    assert notes(folder, "timm DeiT") == (
        "timm's names read as the official ones",
        "told by config.json: deit_small_patch16_224, 2 heads",
    )
    assert "LayerScale folded into out and Dense_1" in notes(folder, "timm DeiT-III")
    assert "zeros for the biases that it has not: blocks.N.attn.qkv" in notes(
        folder, "timm without qkv biases (miil)"
    )
    assert notes(folder, "Meta DINO, whole training")[1:-1] == (
        "arrays read from below teacher/backbone.",
        "left out 33 of the file's arrays, beside teacher/backbone., such as "
        "optimizer/state/0/exp_avg",
    )
    assert notes(folder, "Meta MAE")[1:-1] == (
        "arrays read from below model/",
        "left out 4 of the file's arrays, on which the class token does not depend, such as "
        "decoder_blocks.0.norm1.bias",
    )
    distilled = notes(folder, "Hugging Face DeiT, distilled")
    assert distilled[-2].endswith("beside deit., such as distillation_classifier.bias")


def test_the_registers_are_those_of_the_file(folder):
    for family, count in (("timm DINOv2, 4 registers", 4), ("timm DeiT, distilled", 1)):
        with open_weights(str(folder / family)) as weights:
            assert weights.arrays["registers"].shape == (1, count, 8)
            assert np.asarray(weights.arrays["registers"]).any()
