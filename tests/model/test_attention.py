"""Attention kernels: the same numbers from each, and which one runs where."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from aftrans_jax.model import attention
from aftrans_jax.model.attention import (
    FUSED,
    KERNELS,
    automatic_kernel,
    check_kernel,
    cudnn_attention,
    splash_attention,
    xla_attention,
)
from aftrans_jax.model.class_row import log_class_row
from aftrans_jax.training import sharding

# Of each type, relative to the largest number: about three times the errors seen.
TOLERANCES = {"float32": 6e-6, "bfloat16": 1.2e-2, "float16": 1.5e-3}
FLOATS = list(TOLERANCES)


def oracle(query, key, value, upstream):
    """Returns output and gradients by hand in float64; arrays are [batch tokens heads head_dim]."""
    scale = query.shape[-1] ** -0.5
    q, k, v, g = (np.asarray(x, np.float64).swapaxes(1, 2) for x in (query, key, value, upstream))
    weights = oracles.softmax(scale * q @ k.mT, axis=-1)
    d_weights = g @ v.mT
    d_scores = weights * (d_weights - (weights * d_weights).sum(axis=-1, keepdims=True))
    results = weights @ v, scale * d_scores @ k, scale * d_scores.mT @ q, weights.mT @ g
    return [x.swapaxes(1, 2) for x in results]


@partial(jax.jit, static_argnums=0)
def output_and_gradients(kernel, query, key, value, upstream):
    output, pull_back = jax.vjp(kernel, query, key, value)
    return output, *pull_back(upstream)


def inputs(rng, dtype, num_queries, num_tokens, heads=2, head_dim=16, batch=2):
    """Every score is far below zero, so that a padded key, which scores zero, would win."""
    queries = (batch, num_queries, heads, head_dim)
    tokens = (batch, num_tokens, heads, head_dim)
    query, key = 1.5 + rng.normal(size=queries), rng.normal(size=tokens) - 1.5
    arrays = query, key, rng.normal(size=tokens), rng.normal(size=queries)
    return [jnp.asarray(x, dtype) for x in arrays]


def assert_close(kernel, arrays):
    results = output_and_gradients(kernel, *arrays)
    for result, expected in zip(results, oracle(*arrays), strict=True):
        assert result.dtype == arrays[0].dtype
        error = np.abs(np.asarray(result, np.float64) - expected).max()
        assert error < TOLERANCES[result.dtype.name] * np.abs(expected).max()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("num_queries", [1, 37])
def test_xla_in_every_precision(rng, dtype, num_queries):
    assert_close(xla_attention, inputs(rng, dtype, num_queries, 37))


@pytest.mark.parametrize(
    ("num_tokens", "block", "head_dim", "dtype"),
    [
        (130, 128, 64, "float32"),  # two blocks, the second nearly all padding
        (256, 128, 16, "bfloat16"),  # no padding
    ],
)
def test_splash(rng, monkeypatch, num_tokens, block, head_dim, dtype):
    monkeypatch.setattr(attention, "SPLASH_BLOCK", block)
    arrays = inputs(rng, dtype, num_tokens, num_tokens, head_dim=head_dim)
    assert_close(partial(splash_attention, interpret=True), arrays)


def test_splash_runs_on_every_device_of_a_step(rng):
    """A Pallas kernel cannot be split by the compiler, nor have what it returns checked."""
    mesh, split = sharding.device_mesh(), sharding.BATCH_SPLIT
    kernel = partial(splash_attention, interpret=True)
    kernel = sharding.on_each(kernel, mesh, arguments=(split,) * 3, results=split)
    assert_close(kernel, inputs(rng, "float32", 37, 37, head_dim=5, batch=mesh.size))


@pytest.mark.parametrize("num_tokens", [37, 38, 325])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cudnn_is_given_even_numbers_of_tokens(rng, monkeypatch, dtype, num_tokens):
    """JAX refuses odd ones in training; XLA stands in for the kernel, in float32 for CPUs."""
    real, given = jax.nn.dot_product_attention, []

    def stand_in(*arrays, implementation, **lengths):
        assert implementation == "cudnn"
        given.append(arrays[0].shape[1])
        exact = (x.astype(jnp.float32) for x in arrays)
        return real(*exact, implementation="xla", **lengths).astype(arrays[0].dtype)

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    assert_close(lambda *x: cudnn_attention(*x), inputs(rng, dtype, num_tokens, num_tokens))
    assert set(given) == {num_tokens + num_tokens % 2}


# ---------------------------------------------------------------------------------------- a choice


DEVICES = {
    kind: SimpleNamespace(platform=platform, device_kind=kind, compute_capability=capability)
    for kind, platform, capability in [
        ("cpu", "cpu", None),
        ("TPU v5 lite", "tpu", None),
        ("NVIDIA A100-SXM4-40GB", "gpu", "8.0"),
        ("NVIDIA H100 80GB HBM3", "gpu", "9.0"),
        ("NVIDIA B300", "gpu", "10.3"),
        ("Tesla T4", "gpu", "7.5"),
        ("AMD Instinct MI250X", "gpu", "gfx90a"),
    ]
}
CUDNN = ("NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3", "NVIDIA B300")


@pytest.mark.parametrize("kind", DEVICES)
def test_auto(monkeypatch, kind):
    names = ["xla", "xla", "xla"]
    if kind in CUDNN:
        names = ["xla", "cudnn", "cudnn"]
    elif kind.startswith("TPU"):
        names = ["splash", "splash", "xla"]
    monkeypatch.setattr(attention, "default_device", lambda: DEVICES[kind])
    assert [automatic_kernel(jnp.dtype(dtype)) for dtype in FLOATS] == names
    called = []
    named = {name: lambda q, k, v, name=name: called.append(name) or q for name in names}
    monkeypatch.setattr(attention, "KERNELS", named)
    for dtype in FLOATS:
        KERNELS["auto"](*jnp.zeros((3, 1, 2, 1, 1), dtype))
    assert called == names


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_single_query_runs_everywhere(rng, name):
    assert_close(KERNELS[name], inputs(rng, "float32", 1, 7))


@pytest.mark.parametrize("name", sorted(FUSED))
def test_fused_kernels_are_really_called(rng, name):
    """Shown by their errors on a CPU, for which `check_kernel` has the remedy."""
    with pytest.raises((RuntimeError, ValueError), match=r"cuDNN|interpret mode"):
        KERNELS[name](*inputs(rng, "bfloat16", 2, 2)[:3])


@pytest.mark.parametrize(
    ("name", "kinds", "dtypes"),
    [
        ("cudnn", CUDNN, ("bfloat16", "float16")),
        ("splash", ("TPU v5 lite",), ("float32", "bfloat16")),
    ],
)
def test_a_kernel_that_cannot_run_is_refused(monkeypatch, name, kinds, dtypes):
    for here, device in DEVICES.items():
        monkeypatch.setattr(attention, "default_device", lambda device=device: device)
        for dtype in FLOATS:
            check_kernel("auto", jnp.dtype(dtype))
            check_kernel("xla", jnp.dtype(dtype))
            if here in kinds and dtype in dtypes:
                check_kernel(name, jnp.dtype(dtype))
                continue
            with pytest.raises(ValueError, match=f"^model.attention='{name}' needs a ") as caught:
                check_kernel(name, jnp.dtype(dtype))
            ending = f"; this is {here} in {dtype}: use --config.model.attention=auto"
            assert str(caught.value).endswith(ending)
            assert all(dtype in str(caught.value).partition(";")[0] for dtype in dtypes)


def test_every_layer_runs_the_chosen_kernel():
    seen = []

    def kernel(query, key, value):
        seen.append((query.shape[1], key.shape[1]))
        return query

    vit = tiny.tiny_vit(attention=kernel)
    images = np.zeros((2, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3), np.uint8)
    with jax.disable_jit():  # under which equal blocks are traced once
        jax.eval_shape(lambda: vit.init(jax.random.key(0), images, train=False))
    assert seen == [(50, 50), (50, 50), (1, 50)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_class_rows_of_float32_are_not_rounded_before_they_are_multiplied(rng, dtype):
    """Rounding to TF32 or bfloat16, which a CPU lacks, is looked for in the program."""
    query, key, *_ = inputs(rng, dtype, 37, 37)
    program = jax.jit(log_class_row).lower(query, key).as_text()
    assert ("precision = [HIGHEST, HIGHEST]" in program) == (dtype == "float32")
    found = np.asarray(log_class_row(query, key), np.float64)
    score = np.einsum("bhd,bkhd->bhk", *(np.asarray(x, np.float64) for x in (query[:, 0], key)))
    expected = oracles.log_softmax(score * query.shape[-1] ** -0.5, axis=-1)[..., 1:]
    np.testing.assert_allclose(found, expected, atol=2e-5)
