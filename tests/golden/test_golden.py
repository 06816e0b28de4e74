"""The trunk against what timm computed, in files: nothing but them is needed to compare.

`make_vit_timm.py` wrote them and says how.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from npz_file import read_npz
from tiny import param_shapes

from aftrans_jax.model.class_row import Summary, class_row_descriptor
from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import GELUS, ViT
from aftrans_jax.weights.fitting import fit_to_model

FOLDER = Path(__file__).parent
VARIANT = Variant(patch_size=8, hidden=32, mlp=64, layers=3, heads=4)
IMAGE_SIZE, STRIDE, CLASSES = 48, 5, 7
# timm computed in float64, so what differs is our float32's rounding: at most 2e-6 in logits and
# class tokens, of up to 4, and 7e-6 in log class rows, of up to 14, where float32's steps are 1e-6.
# Three times that leaves room for another processor's order of sums. The GELUs differ by 4e-4.
ATOL = 2e-5


def run(vit: ViT, images: np.ndarray):
    patches = vit.embed(vit.normalize(images))
    observe = Summary(class_row_descriptor)
    tokens, layers = vit.encode(patches, train=False, observe=observe)
    class_rows = jnp.stack([row for row, _ in layers], axis=1)
    return {
        "logits": vit(images, train=False),
        "class_token": tokens[:, 0],
        "class_rows": class_rows,
    }


def outputs(golden: dict[str, np.ndarray], gelu: str) -> dict[str, np.ndarray]:
    """Our trunk's outputs, by the names of the file's."""
    mean, std = (tuple(golden[name].tolist()) for name in ("mean", "std"))
    vit = ViT(VARIANT, CLASSES, IMAGE_SIZE, STRIDE, gelu, mean, std)
    images = golden["images"]
    arrays = read_npz(FOLDER / "vit_timm.npz")
    params, notes, _ = fit_to_model(arrays, param_shapes(vit), keep_head=True)
    assert notes == ()
    return jax.jit(lambda p: vit.apply({"params": p}, images, method=run))(params)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "vit_timm_outputs.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(golden) -> dict[str, dict[str, np.ndarray]]:
    return {gelu: outputs(golden, gelu) for gelu in GELUS}


def differences(golden, gelu: str, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    expected = {name: golden[f"{gelu}/{name}"] for name in found}
    # Ours are logs, without the class token's own entry; the softmax is over all tokens in both.
    expected["class_rows"] = np.log(expected["class_rows"][..., 1:])
    assert {name: x.shape for name, x in found.items()} == {
        name: x.shape for name, x in expected.items()
    }
    return {name: np.abs(found[name] - expected[name]) for name in found}


@pytest.mark.parametrize("gelu", ["tanh", "exact"])
def test_logits_class_token_and_class_rows_are_timm_s(golden, ours, gelu):
    for name, difference in differences(golden, gelu, ours[gelu]).items():
        assert difference.max() <= ATOL, name


@pytest.mark.parametrize(("gelu", "other"), [("tanh", "exact"), ("exact", "tanh")])
def test_the_other_gelu_s_are_not(golden, ours, gelu, other):
    for name, difference in differences(golden, gelu, ours[other]).items():
        assert difference.max() > 10 * ATOL, name
