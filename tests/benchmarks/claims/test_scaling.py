"""Collectives are read from programs as they are; the model of weak scaling by hand."""

import jax
import jax.numpy as jnp
import pytest

from aftrans_jax.training.sharding import BATCH_SPLIT, REPLICATED, all_sum, device_mesh, per_device
from benchmarks.claims.scaling import (
    Setup,
    account,
    b16_params,
    ring_ms,
    run_setup,
    weak_scaling,
)
from benchmarks.harness.errors import WorkerError
from benchmarks.harness.hlo import Collective, collectives, num_loops
from benchmarks.settings import Settings

LOOP = """HloModule step, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%deep (x: (s32[], f32[4])) -> f32[4] {
  ROOT %all-gather.1 = f32[4]{0} all-gather(%y), dimensions={0}
}

%body (x: (s32[], f32[4])) -> (s32[], f32[4]) {
  %call.7 = f32[4]{0} call(%x), to_apply=%deep
}

%condition (x: (s32[], f32[4])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %while.3 = (s32[], f32[4]{0}) while(%t), condition=%condition, body=%body
  %reduced = (bf16[2,3]{1,0:T(8,128)}, /*index=1*/pred[]) all-reduce-start(%a, %b), to_apply=%sum
  ROOT %done = f32[4]{0} get-tuple-element(%all-reduce.9), metadata={op_name="jit(f)/psum"}
}
"""


def test_collectives_of_a_program_on_paper():
    assert num_loops(LOOP) == 1
    assert sorted(collectives(LOOP)) == [
        Collective("all-gather", (4,), 16, True),
        Collective("all-reduce", (6, 1), 13, False),
    ]


@pytest.mark.parametrize(
    "damage", [("%deep (x", "%deep @ (x"), ("%body (x", "%lost (x"), ("{\n  %while", "\n  %while")]
)
def test_a_program_that_cannot_be_read_is_no_program_without_collectives(damage):
    assert LOOP.count(damage[0]) == 1
    with pytest.raises(ValueError, match=r"Adapt benchmarks/harness/hlo\.py"):
        collectives(LOOP.replace(*damage))


# As XLA prints for TPUs: an exchange in parts, each with the instruction; lines within a string.
PARTS = """HloModule step

%first (x: bf16[2,3]) -> bf16[2,12] {
  ROOT %all-gather.1 = bf16[2,12]{0,1:T(8,128)} all-gather(%x), replica_groups={{0,1,2,3}}
}

%async_collective_fusion.7 (x: bf16[2,3]) -> bf16[2,12] {
  ROOT %all-gather.2 = bf16[2,12]{0,1} all-gather(%x), replica_groups={{0,1,2,3}}
}

%last (x: bf16[2,3]) -> bf16[2,12] {
  ROOT %all-gather.3 = bf16[2,12]{0,1} all-gather(%x), replica_groups={{0,1,2,3}}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %async-collective-start = bf16[2,12]{0,1} fusion(%p), kind=kCustom, calls=%first
  %kernel.2 = f32[4]{0} custom-call(%p), frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512}"
}}, metadata={op_name="jit(f)"}
  %fusion.7 = bf16[2,12]{0,1} fusion(%p), kind=kOutput, calls=%async_collective_fusion.7
  %async-collective-done = bf16[2,12]{0,1} fusion(%p), kind=kCustom, calls=%last
  %reduce-scatter.4 = f32[5]{0} reduce-scatter(%p), replica_groups={{0,1},{2,3}}, dimensions={0}
  %started = (f32[1], f32[4]) all-gather-start(%p), replica_groups=[1,4]<=[4], dimensions={0}
  ROOT %done = f32[4]{0} copy(%p)
}, execution_thread="main"
"""


def test_an_exchange_in_parts_is_counted_once_by_its_whole_arrays():
    assert sorted(collectives(PARTS)) == [
        Collective("all-gather", (1, 4), 16, False),
        Collective("all-gather", (24,), 48, False),
        Collective("reduce-scatter", (5,), 40, False),
    ]


def test_collectives_of_compiled_programs():
    def once(x):
        return all_sum({"a": x.sum(axis=0), "b": (x > 0).sum()})

    def again_and_again(x):
        return jax.lax.while_loop(lambda x: all_sum(x).sum() < 99, lambda x: x * 2, x.sum(axis=0))

    x = jnp.ones((4, 3))
    found = {}
    for function in (once, again_and_again):
        compiled = per_device(function, device_mesh(), arguments=(BATCH_SPLIT,), results=REPLICATED)
        found[function] = collectives(compiled.lower(x).compile().as_text())
    assert {one.kind for one in found[once]} == {"all-reduce"}
    assert sum(one.num_bytes for one in found[once]) == 3 * 4 + 4
    assert not any(one.in_loop for one in found[once])
    assert found[again_and_again]
    assert all(one.in_loop for one in found[again_and_again])


def test_one_exchange_is_the_gradients_and_the_averages():
    gradients = Collective("all-reduce", (100, 2), 408, False)
    counts = Collective("all-reduce", (1,), 4, False)
    assert account([gradients, counts], 100) == {
        "collectives": {"all-reduce": {"count": 2, "bytes": 412}},
        "num_collectives_in_loops": 0,
        "num_params": 100,
        "gradient_bytes": 400,
        "other_bytes": 12,
        "one_exchange": True,
    }
    for wrong in (
        [],
        [counts],
        [gradients, gradients],
        [gradients, counts._replace(in_loop=True)],
        [gradients, counts._replace(kind="all-gather")],
    ):
        assert not account(wrong, 100)["one_exchange"]


def test_the_model_by_hand():
    assert ring_ms(10**9, 1, 1.0) == 0
    assert ring_ms(10**9, 2, 1.0) == pytest.approx(1000)  # each sends half of it, twice
    assert ring_ms(10**9, 4, 2.0) == pytest.approx(750)
    rows = {row["chips"]: row for row in weak_scaling(10**9, 500.0, 1.0)}
    assert min(rows) == 1
    assert max(rows) == 256
    assert rows[1]["efficiency_no_overlap"] == rows[1]["efficiency_full_overlap"] == 1
    assert rows[2]["efficiency_no_overlap"] == pytest.approx(1 / 3, abs=1e-4)
    assert rows[2]["efficiency_full_overlap"] == 0.5
    hidden = weak_scaling(10**9, 2000.0, 1.0)[-1]
    assert hidden["efficiency_full_overlap"] == 1
    assert hidden["efficiency_no_overlap"] == pytest.approx(2000 / 3992.1875, abs=1e-4)


def test_parameters_of_the_model():
    """The published trunk's 85,798,656 hold 197 positions; ours has 1370, and a local branch's."""
    trunk = 85_798_656 + (1370 - 197) * 768
    local = 768 + (1 + 18 * 18) * 768  # class token and positions
    gate, head = 2 * 12 * 3, 200 * 769
    assert b16_params() == trunk + local + gate + head


def test_a_process_that_fails_is_quoted():
    with pytest.raises(WorkerError, match=r"train\.batch_size=0"):
        run_setup(Setup(1, 1), Settings("cpu", batch=0, num_calls=2))
