"""FLOP against numbers worked out beforehand and those that XLA counts."""

import jax
import jax.numpy as jnp
import pytest

from aftrans_jax.config import recipe_config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.model.variants import VARIANTS
from benchmarks.models.cases import CASES, case_flops, flops


def test_flops_of_the_papers_sizes():
    sides = (448, 224)
    whole = [flops(VARIANTS["b16"], side, 12) / 1e9 for side in sides]
    assert whole == pytest.approx([303.5, 59.5], abs=0.05)
    assert 3 * sum(whole) == pytest.approx(1089, abs=0.5)
    short = sum(flops(VARIANTS["b16"], side, 12, every_token=False) for side in sides) / 1e9
    assert short == pytest.approx(336.9, abs=0.1)
    assert 3 * short == pytest.approx(1011, abs=0.5)


def test_flops_of_a_case_are_its_branches():
    config, _ = resolve_auto(recipe_config("recipe=paper"))
    counts = {name: case_flops(case, config) for name, case in CASES.items()}
    assert counts["vit_global"] + counts["vit_local"] == counts["naive"]
    assert counts["aftrans_every_token"] == counts["naive"] > counts["aftrans"]
    assert counts["two_passes"] == counts["aftrans"]


def test_flops_agree_with_the_compiler_on_a_tiny_trunk():
    """XLA counts element-wise work too, so it finds more, but not by much."""
    config, _ = resolve_auto(recipe_config("recipe=paper"))
    config.model.variant, config.model.stride = "mini8", 8
    config.data.image_size = config.data.source_size = 64
    model = CASES["vit_global"].make(config, jnp.dtype("float32"))
    images = jnp.zeros((1, 64, 64, 3), jnp.uint8)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    lowered = jax.jit(lambda *args: model.apply(*args, train=False)).lower(params, images)
    counted = lowered.cost_analysis()["flops"]
    assert 0.8 < flops(VARIANTS["mini8"], 64, 8) / counted <= 1.02
