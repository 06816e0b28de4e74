"""Two linear classifiers of a flat image: a model small enough to train by hand in numpy."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import scipy.special

from aftrans_jax.model.outputs import ModelOutput

NUM_CLASSES, NUM_PIXELS = 5, 12
BRANCHES = ("global", "local")


class Linear(nn.Module):
    """Logits of both branches, without a region."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, *, train):
        del train
        x = jnp.asarray(images, self.dtype).reshape(len(images), -1)
        shape = (NUM_PIXELS, NUM_CLASSES)
        kernels = {name: self.param(name, nn.initializers.normal(0.01), shape) for name in BRANCHES}
        logits = {name: x @ kernel.astype(self.dtype) for name, kernel in kernels.items()}
        return ModelOutput(logits, dict.fromkeys(logits, x), None)


def random_params(rng):
    shape = (NUM_PIXELS, NUM_CLASSES)
    return {name: rng.normal(0, 0.01, shape).astype(np.float32) for name in BRANCHES}


def random_batch(rng, size=8):
    """Pixels 0..255 in a 2 x 2 image."""
    return {
        "image": rng.integers(0, 256, (size, 2, 2, 3), dtype=np.uint8),
        "label": rng.integers(0, NUM_CLASSES, size, dtype=np.int32),
        "mask": np.ones(size, bool),
    }


def logits(params, images):
    x = images.reshape(len(images), -1).astype(np.float64)
    return {name: x @ kernel.astype(np.float64) for name, kernel in params.items()}


def losses(params, batch):
    """Cross-entropies [batch] by branch."""
    rows = np.arange(len(batch["label"]))
    return {
        name: scipy.special.logsumexp(branch, axis=1) - branch[rows, batch["label"]]
        for name, branch in logits(params, batch["image"]).items()
    }


def gradients(params, batch, weights):
    """Gradients of the batch's mean of the weighted sum of both branches' cross-entropies."""
    x = batch["image"].reshape(len(batch["image"]), -1).astype(np.float64)
    target = np.eye(NUM_CLASSES)[batch["label"]]
    return {
        name: weights[name] * x.T @ (scipy.special.softmax(branch, axis=1) - target) / len(x)
        for name, branch in logits(params, batch["image"]).items()
    }
