"""What is reported beside the times: FLOP, ratios, memory, largest batch, no loop."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.config import base_config
from aftrans_jax.model.variants import VARIANTS
from benchmarks.cases import CASES, case_flops, flops
from benchmarks.predict import check_no_loop
from benchmarks.step import bytes_per_image, guess_batch, ratios
from benchmarks.timing import executable_bytes, is_out_of_memory, largest, take_turns, utilisation


def test_flops_of_performance_section_1():
    sides = (448, 224)
    whole = [flops(VARIANTS["b16"], side, 12) / 1e9 for side in sides]
    assert whole == pytest.approx([303.5, 59.5], abs=0.05)
    assert 3 * sum(whole) == pytest.approx(1089, abs=0.5)
    short = sum(flops(VARIANTS["b16"], side, 12, every_token=False) for side in sides) / 1e9
    assert short == pytest.approx(336.9, abs=0.1)
    assert 3 * short == pytest.approx(1011, abs=0.5)


def test_flops_of_a_case_are_its_branches():
    config = base_config()
    counts = {name: case_flops(case, config) for name, case in CASES.items()}
    assert counts["vit_global"] + counts["vit_local"] == counts["naive"]
    assert counts["aftrans_every_token"] == counts["naive"] > counts["aftrans"]
    assert counts["two_passes"] == counts["aftrans"]


def test_flops_agree_with_the_compiler_on_a_tiny_trunk():
    """XLA counts element-wise work too, so it finds more, but not by much."""
    config = base_config()
    config.model.variant, config.data.image_size, config.model.stride = "mini8", 64, 8
    model = CASES["vit_global"].make(config, jnp.dtype("float32"))
    images = jnp.zeros((1, 64, 64, 3), jnp.uint8)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    lowered = jax.jit(lambda *args: model.apply(*args, train=False)).lower(params, images)
    counted = lowered.cost_analysis()["flops"]
    assert 0.8 < flops(VARIANTS["mini8"], 64, 8) / counted <= 1.02


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


def test_memory_of_smaller_batches_tells_the_larger():
    known = {12: 1_000 + 12 * 50, 48: 1_000 + 48 * 50}
    assert bytes_per_image(known) == 50
    assert guess_batch(known, 1_000 + 50 * 110) == 110
    assert bytes_per_image({12: 1}) is None
    assert bytes_per_image({}) is None
    assert guess_batch({10: 1_000}, 2_000) == 20
    assert guess_batch({}, 2_000) == 1
    assert guess_batch({12: 1_600, 48: 3_400}, 2_000) == 20  # fewer than were measured


def test_ratios_are_of_what_ran():
    def ran(milliseconds, memory):
        return {"out_of_memory": False, "median_ms": milliseconds, "executable_bytes": memory}

    results = {
        "vit_local": ran(1.0, 1),
        "vit_global": ran(3.0, 2),
        "aftrans": ran(5.0, 10),
        "naive": ran(15.0, 40),
    }
    assert ratios(results) == {
        "aftrans/two_plain_steps": 1.25,
        "naive/aftrans, time": 3.0,
        "aftrans/naive, memory": 0.25,
    }
    lacking = results | {"naive": {"out_of_memory": True}}
    assert ratios(lacking) == {"aftrans/two_plain_steps": 1.25}
    lacking["naive"]["executable_bytes"] = 80
    assert ratios(lacking)["aftrans/naive, memory"] == 0.125


def test_calls_take_turns_and_warm_ups_do_not_count():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = take_turns(calls, num_calls=2, num_warm_up=1, burst=2)
    assert "".join(order) == "aabb" * 3
    assert all(0 <= time.lower_ms <= time.median_ms <= time.upper_ms for time in timings.values())


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


def test_a_loop_in_a_prediction_is_found():
    def loop(x):
        return jax.lax.while_loop(lambda x: x < 9, lambda x: x * 2, x)

    one = jnp.float32(1)
    with pytest.raises(ValueError, match=r"holds .*while\(.*expected no loop"):
        check_no_loop(jax.jit(loop).lower(one).compile().as_text())
    check_no_loop(jax.jit(lambda x: x + 1).lower(one).compile().as_text())
