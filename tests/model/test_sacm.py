"""Head fusion, gate, relevance and selection against the float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aftrans_jax.model import sacm
from aftrans_jax.model.outputs import GatedRows


def random_log_rows(rng, batch=3, layers=4, heads=5, patches=30):
    scores = rng.normal(size=(batch, layers, heads, patches + 1), scale=2)
    return oracles.log_softmax(scores, -1)[..., 1:].astype(np.float32)


@pytest.mark.parametrize("name", sacm.HEAD_FUSIONS)
def test_gates_and_rows_agree_with_float64(rng, name):
    log_rows = random_log_rows(rng)
    descriptor = log_rows.sum(axis=2).mean(axis=-1)
    w1, w2 = (jnp.array(rng.normal(size=s), jnp.float32) for s in ((4, 2), (2, 4)))
    params = {"squeeze": {"kernel": w1}, "excite": {"kernel": w2}}
    module = sacm.SACM(reduction=2, head_fusion=name)
    gate, rows = module.apply({"params": params}, jnp.array(log_rows), jnp.array(descriptor))
    for image in range(len(log_rows)):
        fused = [oracles.fuse_heads(layer, name) for layer in log_rows[image]]
        np.testing.assert_allclose(rows[image], oracles.softmax(np.stack(fused), -1), atol=1e-6)
        exact = descriptor[image].astype(np.float64)
        exact = (exact - exact.mean()) / (exact.std() + 1e-6)
        np.testing.assert_allclose(gate[image], oracles.gate(exact, w1, w2), atol=1e-5)
    np.testing.assert_allclose(
        sacm.relevance(gate, rows)[0], oracles.relevance(gate[0], rows[0]), atol=1e-6
    )


def test_no_seed_favours_layers_at_the_start(rng):
    module = sacm.SACM(reduction=4, head_fusion="mean")
    arguments = jnp.zeros((50, 12, 2, 5)), jnp.array(rng.normal(size=(50, 12)), jnp.float32)
    for seed in range(20):
        gates = module.init_with_output(jax.random.key(seed), *arguments)[0].gate
        assert 0 < np.abs(gates - 0.5).max() < 0.1


def test_a_gate_of_few_layers_has_a_hidden_layer_all_the_same():
    module, given = sacm.SACM(reduction=5, head_fusion="mean"), ((2, 4, 3, 6), (2, 4))
    arguments = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in given)
    params = jax.eval_shape(module.init, jax.random.key(0), *arguments)["params"]
    assert params["squeeze"]["kernel"].shape == (4, 1)


def test_twelve_sharp_heads_underflow_as_a_product_and_not_in_log_space(rng):
    """Twelve heads over 1369 patches: eq. 6's product underflows in float32 and half."""
    log_rows = oracles.log_softmax(rng.normal(size=(1, 1, 12, 1370), scale=3), -1)[..., 1:]
    log_rows = log_rows.astype(np.float32)
    product = np.exp(log_rows).prod(axis=2, dtype=np.float32)
    assert (product < np.finfo(np.float32).tiny).mean() > 0.9
    assert (np.exp(log_rows).astype(np.float16).prod(axis=2, dtype=np.float16) == 0).all()
    for name, fuse in sacm.HEAD_FUSIONS.items():
        fused = np.asarray(fuse(jnp.array(log_rows)))[0, 0]
        expected = oracles.fuse_heads(log_rows[0, 0], name)
        np.testing.assert_allclose(fused, expected, rtol=1e-5)
        assert (fused.argsort() == expected.argsort()).mean() > 0.99


def test_chosen_layers_are_counted_from_one(rng):
    gate, rows = rng.uniform(size=(2, 4)), rng.uniform(size=(2, 4, 5))
    every = GatedRows(jnp.array(gate, jnp.float32), jnp.array(rows, jnp.float32))
    found = every.of((4, 1))
    np.testing.assert_array_equal(found.gate, every.gate[:, jnp.array([3, 0])])
    np.testing.assert_array_equal(found.layer_rows, every.layer_rows[:, jnp.array([3, 0])])
    assert every.of(()) is every


@pytest.mark.parametrize("name", sacm.SELECTIONS)
@pytest.mark.parametrize("keep_ratio", [0.001, 0.1, 0.4, 1.0])
def test_selected_patches_agree_with_float64(rng, name, keep_ratio):
    gate = rng.uniform(0.1, 0.9, (3, 4)).astype(np.float32)
    rows = oracles.softmax(rng.normal(size=(3, 4, 30)), -1).astype(np.float32)
    found = sacm.SELECTIONS[name](jnp.array(gate), jnp.array(rows), keep_ratio)
    for image in range(3):
        # Products in float32 on both sides: only the selection is under test, not its rounding.
        expected = oracles.select(gate[image], rows[image], keep_ratio, name)
        np.testing.assert_array_equal(found[image], expected)


def test_a_gate_of_zero_silences_its_layer(rng):
    rows = oracles.softmax(rng.normal(size=(1, 2, 20)), -1).astype(np.float32)
    only_second = jnp.array([[0.0, 1.0]], jnp.float32)
    for name in ("fused", "union"):
        mask = np.asarray(sacm.SELECTIONS[name](only_second, jnp.array(rows), 0.1))[0]
        count = 2 if name == "fused" else 4
        assert set(np.flatnonzero(mask)) == set(rows[0, 1].argsort()[-count:])


values = hnp.arrays(
    np.float32,
    st.tuples(st.just(2), st.just(17)),
    elements=st.one_of(
        st.floats(0, 2.0**127, width=32),
        st.sampled_from([0.0, -0.0, 1e-45, 1.1754944e-38, 1.0, np.inf]),
    ),
)


@settings(deadline=None, max_examples=30)
@given(values, st.integers(1, 17))
def test_kth_largest_is_what_sorting_gives(array, k):
    found = sacm.kth_largest(jnp.array(array), k)
    np.testing.assert_array_equal(found[:, 0], np.sort(np.abs(array), axis=-1)[:, -k])


@pytest.mark.parametrize("sign", [1, -1])  # processors make NaNs of either
def test_a_nan_counts_as_largest(sign):
    array = jnp.array([[1, np.copysign(np.nan, sign), 2]], jnp.float32)
    assert np.isnan(sacm.kth_largest(array, 1))
    assert sacm.kth_largest(array, 2) == 2


def test_votes_come_before_relevance():
    """The first patch is all of three layers, the second ahead of the others in four."""
    rows = np.full((1, 7, 10), 0.09, np.float32)
    rows[0, :3], rows[0, 3:, 1] = np.eye(10)[0], 0.19
    mask = sacm.select_votes(jnp.ones((1, 7)), jnp.array(rows), 0.1)
    assert np.flatnonzero(mask).tolist() == [1]


def test_equal_values_are_all_kept_and_nan_selects_nothing():
    rows = jnp.full((1, 2, 10), 0.1)
    gate = jnp.array([[0.5, 0.5]])
    assert sacm.select_fused(gate, rows, 0.2).all()
    assert not sacm.select_fused(gate * jnp.nan, rows, 0.2).any()


@pytest.mark.parametrize("name", sacm.SELECTIONS)
def test_patches_whose_product_over_heads_is_gone_are_never_kept(name):
    """Twelve heads whose rows fall by 10 from patch to patch: e**-120 is 0 in float32."""
    log_rows = -10.0 * jnp.arange(30).reshape(1, 1, 1, 30) * jnp.ones((1, 2, 12, 1))
    rows = jax.nn.softmax(sacm.HEAD_FUSIONS["product"](log_rows), axis=-1)
    mask = sacm.SELECTIONS[name](jnp.full((1, 2), 0.5), rows, 0.2)
    assert np.flatnonzero(mask).tolist() == [0]
    sound = jax.nn.softmax(sacm.HEAD_FUSIONS["geometric"](log_rows / 10), axis=-1)
    mask = sacm.SELECTIONS[name](jnp.full((1, 2), 0.5), sound, 0.2)
    assert np.flatnonzero(mask).tolist() == [0, 1, 2, 3, 4, 5]


def test_standardize_survives_layers_that_are_all_alike():
    assert np.array_equal(sacm.standardize(jnp.full((1, 4), -7.0)), np.zeros((1, 4)))
    nearly = np.array([[0, 1e-6, 2e-6, 3e-6]])
    expected = (nearly - 1.5e-6) / (nearly.std() + 1e-6)
    np.testing.assert_allclose(sacm.standardize(jnp.asarray(nearly, jnp.float32)), expected, 1e-5)
