"""The loss scale of float16 beside flax's; what "auto" means on a device and of its record."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax.training.dynamic_scale import DynamicScale

from aftrans_jax.run.results import devices
from aftrans_jax.training.precision import (
    PRECISIONS,
    DynamicLossScale,
    automatic_note,
    meant_precision,
)

LIMITS = np.finfo(np.float32)


@pytest.mark.parametrize(
    ("start", "end"), [(2**16, None), (LIMITS.max / 2, LIMITS.max), (LIMITS.tiny, LIMITS.tiny)]
)
def test_it_is_halved_and_doubled_as_flax_does_at_the_ends_of_float32_too(start, end):
    gradients = np.zeros(9000, np.float32)
    gradients[4100:4106] = np.inf
    gradients[6106] = np.nan  # where it would have been doubled

    def step(scales, gradient):
        ours, is_finite = scales[0].after({"kernel": gradient, "bias": 0.0})
        theirs = scales[1].value_and_grad(lambda x: x * gradient)(0.0)
        found = (ours.scale, ours.finite_steps, is_finite)
        expected = (theirs.dynamic_scale.scale, theirs.dynamic_scale.fin_steps, theirs.finite)
        return (ours, theirs.dynamic_scale), (found, expected)

    scale, steps = np.float32(start), np.int32(0)
    first = (DynamicLossScale(scale), DynamicScale(scale=scale, fin_steps=steps))
    _, (found, expected) = jax.lax.scan(step, first, gradients)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert end is None or end in found[0]
    assert len(np.unique(found[0])) >= 3


def test_it_starts_as_flax_s():
    assert DynamicLossScale().scale == DynamicScale().scale


@pytest.mark.parametrize(
    ("kind", "capability", "precision"),
    [
        ("cpu", None, "float32"),
        ("TPU v5 lite", None, "bfloat16"),
        ("AMD Instinct MI250X", "gfx90a", "bfloat16"),
        ("Tesla V100-SXM2-16GB", "7.0", "float16"),
        ("Tesla T4", "7.5", "float16"),
        ("NVIDIA A100-SXM4-40GB", "8.0", "bfloat16"),
        ("NVIDIA B200", "10.0", "bfloat16"),
    ],
)
def test_auto_is_what_a_device_has_and_its_record_says_the_same(
    monkeypatch, kind, capability, precision
):
    device = SimpleNamespace(device_kind=kind, compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    found = PRECISIONS["auto"]()
    assert found.dtype.name == precision
    assert isinstance(found.loss_scale, DynamicLossScale) == (precision == "float16")
    recorded = devices().rpartition(" x ")[2]
    assert recorded.startswith(kind)
    assert meant_precision("auto", recorded) == precision
    assert meant_precision("bfloat16", recorded) == "bfloat16"
    said = f"train.precision=auto is float16: {kind} (compute capability {capability}) has no "
    assert automatic_note("auto") == ([f"{said}bfloat16"] if precision == "float16" else [])
    assert automatic_note("float16") == []
