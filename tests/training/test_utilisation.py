"""FLOP of a forward pass against sums by hand; peaks of known devices alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn

from aftrans_jax.config import base_config
from aftrans_jax.experiment import model as experiment_model
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.experiment.model import blank_params, build_model
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.plain_vit import PlainViT
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.settings import flat
from aftrans_jax.studies.cost import gflop
from aftrans_jax.training.utilisation import forward_flops, peak_flops
from benchmarks.models.cases import EveryTokenViT, flops


def test_the_products_of_a_vit_are_those_of_the_formula(rng):
    """The last block works for the class token alone."""
    model = PlainViT(tiny.tiny_vit(attention=KERNELS["xla"]))
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


def deit_tiny(**changes):
    config = base_config()
    config.model.variant, config.model.stride = "ti16", 16
    config.data.image_size = config.data.local_size = 224
    for key, value in changes.items():
        group, _, name = key.partition("__")
        config[group][name] = value
    return resolve_auto(config)[0]


def test_deit_tiny_has_the_multiply_adds_that_it_is_known_for():
    """1.26 GMAC in timm's table, which counts a little more; ImageNet's 1000 classes."""
    tokens, hidden = 197, 192
    per_token = 4 * hidden**2 + 2 * hidden * (4 * hidden) + 2 * tokens * hidden
    layers, patches, head = 12 * tokens * per_token, 196 * 3 * 16**2 * hidden, hidden * 1000
    whole = 2 * (layers + patches + head)
    assert whole / 1e9 == pytest.approx(2 * 1.26, rel=0.01)
    config = deit_tiny(model__name="vit", model__attention="xla")
    vit = build_model(config, 1000, jnp.dtype("float32")).vit
    fields = {name: getattr(vit, name) for name in vit.__dataclass_fields__}
    model = PlainViT(EveryTokenViT(**fields | {"parent": None, "name": None}))
    assert forward_flops(model, blank_params(config, model), 224) == whole
    # The last block's queries, and what follows them, are the class token's alone.
    spared = 196 * (2 * hidden**2 + 2 * hidden * (4 * hidden) + 2 * tokens * hidden)
    assert gflop(flat(config.to_dict()), 1000, "global") * 1e9 == whole - 2 * spared


def test_both_branches_against_the_compilers_count(monkeypatch):
    """XLA counts operations on single elements too: a little more, with exact GELU 5 %."""
    shallow = {"ti16": VARIANTS["ti16"]._replace(layers=4)}  # each layer takes seconds to trace
    monkeypatch.setattr(experiment_model, "VARIANTS", shallow)
    config = deit_tiny(model__attention="xla", data__source_size=448)
    model = build_model(config, 10, jnp.dtype("float32"))
    params = blank_params(config, model)
    images = jax.ShapeDtypeStruct((1, 448, 448, 3), jnp.uint8)
    lowered = jax.jit(lambda *args: model.apply(*args, train=False)).lower(
        {"params": params}, images
    )
    counted = forward_flops(model, params, 448)
    assert 0.97 < counted / lowered.cost_analysis()["flops"] < 1
    assert gflop(flat(config.to_dict()), 10, "sum") * 1e9 == counted
    once = forward_flops(model, params, 448, only_global=True)
    assert once < counted / 2
    twice = gflop(flat(config.to_dict()) | {"eval.mirror": True}, 10, "global")
    assert twice * 1e9 == 2 * once


def test_a_peak_is_known_of_some_devices_in_half_precision(monkeypatch):
    class Card:
        device_kind = "NVIDIA H100 80GB HBM3"

    assert peak_flops("bfloat16") is None  # this CPU
    monkeypatch.setattr(jax, "devices", lambda: [Card()])
    assert peak_flops("bfloat16") == pytest.approx(989e12)
    assert peak_flops("float32") is None
