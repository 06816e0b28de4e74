"""Ratios of the step, the first guess at the largest batch, no loop in a prediction."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.claims.predict import check_no_loop
from benchmarks.claims.step import guess_batch, ratios
from benchmarks.harness.figures import Figure


def test_memory_of_smaller_batches_tells_the_larger():
    known = {12: 1_000 + 12 * 50, 48: 1_000 + 48 * 50}
    assert guess_batch(known, 1_000 + 50 * 110) == 110
    assert guess_batch({10: 1_000}, 2_000) == 20
    assert guess_batch({}, 2_000) == 1
    assert guess_batch({12: 1_600, 48: 3_400}, 2_000) == 20  # fewer than were measured


def test_ratios_are_of_what_ran():
    def ran(name, milliseconds, memory):
        time = Figure(milliseconds, "ms", turns=(milliseconds, milliseconds))
        return {f"{name}, time": time, f"{name}, memory": Figure(memory, "bytes")}

    figures = ran("vit_local", 1.0, 1) | ran("vit_global", 3.0, 2)
    figures |= ran("aftrans", 5.0, 10) | ran("naive", 15.0, 40)
    found = {name: figure.median for name, figure in ratios(figures).items()}
    assert found == {
        "aftrans / two plain steps": 1.25,
        "naive / aftrans, time": 3.0,
        "aftrans / naive, memory": 0.25,
    }
    for name in ("naive, time", "vit_local, time"):
        del figures[name]
    assert list(ratios(figures)) == ["aftrans / naive, memory"]  # its step ran out of memory
    del figures["naive, memory"]
    assert not ratios(figures)


def test_a_loop_in_a_prediction_is_found():
    def loop(x):
        return jax.lax.while_loop(lambda x: x < 9, lambda x: x * 2, x)

    one = jnp.float32(1)
    with pytest.raises(ValueError, match=r"holds .*while\(.*expected no loop"):
        check_no_loop(jax.jit(loop).lower(one).compile().as_text())
    check_no_loop(jax.jit(lambda x: x + 1).lower(one).compile().as_text())
