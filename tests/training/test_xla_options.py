"""Options for XLA: those that it knows, on the devices that they are for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aftrans_jax.training import xla_options


def test_programs_compile_with_the_options_of_their_devices():
    options = xla_options.xla_options("cpu")
    product = jax.jit(lambda x: jnp.tanh(x @ x), compiler_options=options)
    ones = np.ones((256, 256), np.float32)
    np.testing.assert_allclose(product(ones), 1)
    if tuple(map(int, jax.__version__.split(".")[:2])) >= (0, 10):
        assert options
    assert "ynn" not in product.lower(ones).compile().as_text()
    assert xla_options.xla_options("gpu") == {}


@pytest.fixture
def unknown(monkeypatch):
    monkeypatch.setattr(xla_options, "_ON_CPUS", {"xla_cpu_no_such_option": ""})
    asks = functools.cache(xla_options._is_known.__wrapped__)
    monkeypatch.setattr(xla_options, "_is_known", asks)


@pytest.mark.usefixtures("unknown")
def test_what_an_older_or_newer_jaxlib_does_not_know_is_not_asked_for():
    assert xla_options.xla_options("cpu") == {}
