"""Options of the step: which are compared, with what, and parts compiled for other devices."""

import jax
import pytest

from aftrans_jax.experiment import model as build
from aftrans_jax.model.variants import VARIANTS
from benchmarks.claims import ahead
from benchmarks.claims.options import FLAGS, OPTIONS, Option, compare, options
from benchmarks.models.cases import CASES
from benchmarks.settings import Settings


def test_every_option_is_a_case_and_is_compared_with_another():
    for backend in FLAGS:
        for name, option in options("bfloat16", backend).items():
            assert option.case in CASES
            assert option.against in OPTIONS
            pairs = zip(option[:-1], OPTIONS[option.against][:-1], strict=True)
            differing = sum(ours != theirs for ours, theirs in pairs)
            assert differing == (0 if name == option.against else 1)


def test_a_float32_stream_is_an_option_in_half_precision_alone():
    assert options("bfloat16", "cpu").keys() - options("float32", "cpu").keys() == {
        "float32_residual"
    }


@pytest.mark.parametrize(("name", "value"), FLAGS["cpu"].items())
def test_this_xla_knows_the_flags(name, value):
    jax.jit(lambda x: x + 1).lower(1.0).compile(compiler_options={name: value})


def test_an_unknown_flag_is_reported_and_the_others_are_compared(monkeypatch):
    shallow = {"mini8": VARIANTS["mini8"]._replace(layers=1)}
    monkeypatch.setattr(build, "VARIANTS", shallow)  # each layer takes seconds to compile
    settings = Settings(
        *("cpu", "mini8", 16, 8, 8), batch=2, precision="float32", num_calls=2, num_warm_up=1
    )
    chosen = {"aftrans": Option(), "typo": Option(flags={"xla_no_such_flag": True})}
    figures, details = compare(chosen, settings)
    assert figures["aftrans / aftrans, time"].median == 1
    assert figures["aftrans / aftrans, memory"].median == 1
    assert figures["aftrans, memory"].median > 4 * 200_000  # weights and momentum at least
    assert "xla_no_such_flag" in details["typo"]["error"]


def test_parts_compiled_ahead_give_a_gradient_of_what_they_are_given():
    """Traced only: there may be no compiler for TPUs here."""
    for make in (ahead.attention_parts, ahead.patch_parts, ahead.trunk_parts):
        for name, (function, arguments) in make(batch=1).items():
            given = {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments)}
            results = jax.tree.leaves(jax.eval_shape(function, *arguments))
            assert {(leaf.shape, leaf.dtype) for leaf in results} <= given, name
            assert results, name


def test_what_an_image_takes_needs_two_batches():
    sizes = {"a, xla, batch 12": 100, "a, xla, batch 48": 172, "b, cudnn, batch 12": 50}
    assert ahead.per_image(sizes) == {"a, xla": 2}


def test_side_parts_compiled_ahead_are_the_models():
    parts = ahead.side_parts(batch=2)
    shapes = {name: jax.eval_shape(function, *args) for name, (function, args) in parts.items()}
    assert shapes["selection"].shape == (2, 37 * 37)
    assert shapes["labelling"].shape == (2, 4)
    assert shapes["crop"].shape == (2, 224, 224, 3)
