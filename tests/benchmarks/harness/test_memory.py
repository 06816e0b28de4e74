"""Memory by the compiler's account, the largest batch, the share of the peak."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.harness.memory import (
    bytes_per_image,
    executable_bytes,
    forget_peak,
    is_out_of_memory,
    largest,
    status_bytes,
    utilisation,
)

MEBIBYTES = 2**20


@given(st.integers(0, 5000), st.integers(0, 9000))
@settings(deadline=None, max_examples=25)
def test_the_largest_batch_is_found_from_any_guess(limit, guess):
    trials = []

    def fits(batch):
        trials.append(batch)
        return batch <= limit

    found = largest(fits, guess)
    assert found <= limit <= found + max(1, 0.06 * found)
    assert all(batch >= 1 for batch in trials)
    assert len(set(trials)) == len(trials)


def test_a_good_guess_takes_few_trials():
    trials = []
    largest(lambda batch: trials.append(batch) or batch <= 112, 110)
    assert len(trials) <= 4


def test_memory_counts_arguments_results_and_what_is_between():
    donated = jax.ShapeDtypeStruct((1000,), jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0).lower(donated).compile()
    assert executable_bytes(add) == 4000  # in place
    add = jax.jit(lambda x: x + 1).lower(donated).compile()
    assert executable_bytes(add) == 8000


def test_utilisation_is_of_a_known_peak_alone(monkeypatch):
    class Card:
        device_kind = "NVIDIA H100 80GB HBM3"

    assert utilisation(1e12, 1.0, "bfloat16") is None  # this CPU
    monkeypatch.setattr(jax, "devices", lambda: [Card()])
    assert utilisation(989e12, 2000.0, "bfloat16") == pytest.approx(0.5)
    assert utilisation(989e12, 2000.0, "float32") is None


def test_errors_that_mean_too_little_memory():
    assert is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."))
    assert not is_out_of_memory(RuntimeError("INTERNAL: cuDNN has no plan"))


def test_the_peak_is_forgotten():
    np.ones(64 * MEBIBYTES, np.uint8)
    at_rest = forget_peak()
    assert status_bytes("VmHWM") - at_rest < 8 * MEBIBYTES


def test_what_an_image_takes_needs_two_batches():
    assert bytes_per_image({12: 1_000 + 12 * 50, 48: 1_000 + 48 * 50}) == 50
    assert bytes_per_image({12: 1}) is None
    assert bytes_per_image({}) is None
