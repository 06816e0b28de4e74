"""FLOP of a forward pass against sums by hand; peaks of known devices alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn

from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.vit import Baseline
from aftrans_jax.training.utilisation import forward_flops, peak_flops
from benchmarks.models.cases import flops


def test_the_products_of_a_vit_are_those_of_the_formula(rng):
    """The last block works for the class token alone."""
    model = Baseline(tiny.tiny_vit(attention=KERNELS["xla"]))
    params = tiny.random_params(model, rng, tiny.random_images(rng))
    trunk = flops(tiny.VARIANT, tiny.IMAGE_SIZE, tiny.STRIDE, every_token=False)
    head = 2 * tiny.VARIANT.hidden * tiny.CLASSES
    assert forward_flops(model, params, tiny.IMAGE_SIZE) == trunk + head


class Parts(nn.Module):
    """A product in a loop of three, one that is recomputed in a gradient, and a convolution."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        kernel = self.param("kernel", nn.initializers.zeros_init(), (2, 2, 3, 5))
        x = jax.lax.conv_general_dilated(
            images.astype(jnp.float32), kernel, (2, 2), "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        square = jnp.ones((5, 5))
        x, _ = jax.lax.scan(lambda x, _: (x @ square, None), x, None, length=3)
        return jax.checkpoint(lambda x: jnp.tanh(x @ square))(x)


def test_loops_convolutions_and_inner_functions_by_hand():
    params = {"kernel": np.zeros((2, 2, 3, 5), np.float32)}
    positions = 4 * 4  # 8 px at a stride of 2
    by_hand = positions * (2 * 2 * 3 * 5 + 3 * 5 * 5 + 5 * 5) * 2
    assert forward_flops(Parts(), params, 8) == by_hand


def test_a_peak_is_known_of_some_devices_in_half_precision(monkeypatch):
    class Card:
        device_kind = "NVIDIA H100 80GB HBM3"

    assert peak_flops("bfloat16") is None  # this CPU
    monkeypatch.setattr(jax, "devices", lambda: [Card()])
    assert peak_flops("bfloat16") == pytest.approx(989e12)
    assert peak_flops("float32") is None
