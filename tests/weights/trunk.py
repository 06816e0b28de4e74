"""A tiny trunk whose weights are written to files: 3 layers, 7 x 7 patches of 4 px, 5 classes."""

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import ViT

VARIANT = Variant(patch_size=4, hidden=12, mlp=20, layers=3, heads=3)


def tiny_vit() -> ViT:
    return ViT(VARIANT, 5, 22, 3, "exact", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def shapes_of(model: ViT):
    images = np.zeros((1, model.image_size, model.image_size, 3), np.uint8)
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]


def random_arrays(expected, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A file's content that fits as it is."""
    flat = flatten_dict(expected, sep="/")
    return {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in flat.items()}


def assert_same(tree, arrays):
    flat = flatten_dict(tree, sep="/")
    assert flat.keys() == arrays.keys()
    for name, array in arrays.items():
        assert flat[name].dtype == np.float32
        np.testing.assert_array_equal(flat[name], array, err_msg=name)
