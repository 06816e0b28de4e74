"""A tiny trunk with random weights, as the tests' common subject."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from aftrans_jax.model.variants import Variant
from aftrans_jax.model.vit import ViT

VARIANT = Variant(patch_size=4, hidden=12, mlp=20, layers=3, heads=3)
IMAGE_SIZE, LOCAL_SIZE, STRIDE, CLASSES = 22, 14, 3, 5
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def tiny_vit(**changes) -> ViT:
    fields = {"stride": STRIDE, "gelu": "exact", "mean": MEAN, "std": STD} | changes
    return ViT(VARIANT, CLASSES, IMAGE_SIZE, **fields)


def random_params(model, rng: np.random.Generator, images: np.ndarray):
    """Parameters of ordinary size everywhere, instead of initial zeros and ones."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape, scale=0.4), jnp.float32),
        param_shapes(model, images.shape),
    )


@functools.cache  # the full model is traced, which takes longer than most tests
def param_shapes(model, shape: tuple[int, ...] | None = None):
    """Shapes of the parameters, for images of the model's own size unless another is given."""
    images = jax.ShapeDtypeStruct(shape or (1, model.image_size, model.image_size, 3), np.uint8)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)[
        "params"
    ]


def random_images(rng: np.random.Generator, batch: int = 2) -> np.ndarray:
    return rng.integers(0, 256, (batch, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)


def flat(tree) -> dict[str, np.ndarray]:
    return flatten_dict(tree, sep="/")


def assert_same(tree, arrays: dict[str, np.ndarray]) -> None:
    """Fails unless parameters have these names, in float32 and equal to the bit."""
    found = flat(tree)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def normalized(image: np.ndarray) -> np.ndarray:
    return (image / 255 - np.array(MEAN)) / np.array(STD)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("train", "method"))
def apply(model, params, images, **kwargs):
    """`model.apply`, compiled: op by op it would take a hundred times longer."""
    return model.apply({"params": params}, images, **kwargs)
