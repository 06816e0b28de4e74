"""The step against SGD written out in numpy; float16's skipped steps; the loop; precisions."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
import scipy.special
from experiments import fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from training import linear

from aftrans_jax.model.outputs import ModelOutput
from aftrans_jax.training.actions import Report, Stopwatch
from aftrans_jax.training.loop import train
from aftrans_jax.training.losses import label_losses, target_losses
from aftrans_jax.training.metrics import average, compute, merge
from aftrans_jax.training.optimizer import learning_rate_schedule, optimizer
from aftrans_jax.training.precision import DynamicLossScale, NoLossScale
from aftrans_jax.training.preparation import prepared
from aftrans_jax.training.reporting import MetricsLog, Progress
from aftrans_jax.training.sharding import SINGLE_DEVICE
from aftrans_jax.training.state import create_state
from aftrans_jax.training.train_step import mean_gradients, train_step

WEIGHTS = {"global": 0.7, "local": 1.9}
RNG = jax.random.key(0)


def compiled_step(
    schedule,
    *,
    dtype=jnp.float32,
    head="sum",
    clip_norm=1.0,
    microbatches=1,
    weights=WEIGHTS,
    prepare=lambda batch, rng: batch,
    cross_entropy=label_losses,
):
    rules = {"momentum": 0.9, "clip_norm": clip_norm, "weight_decay": 0.0}
    sgd = optimizer("sgd", schedule, **rules, layer_decay=1.0, num_layers=1)
    gradients = partial(
        mean_gradients,
        model=linear.Linear(dtype),
        loss_weights=weights,
        head=head,
        accumulation_steps=microbatches,
        strategy=SINGLE_DEVICE,
        cross_entropy=cross_entropy,
    )
    step = partial(train_step, gradients=prepared(gradients, prepare), optimizer=sgd)
    return jax.jit(step), sgd


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


@pytest.mark.parametrize("microbatches", [1, 4], ids=["one batch", "microbatches"])
@pytest.mark.parametrize("clip_norm", [1.0, 1e6], ids=["clipped", "free"])
def test_steps_are_those_of_sgd_by_hand(rng, clip_norm, microbatches):
    rates = (0.0, 0.002, 0.001)
    step, sgd = compiled_step(
        lambda count: jnp.array(rates)[count], clip_norm=clip_norm, microbatches=microbatches
    )
    params = linear.random_params(rng)
    expected = {name: kernel.astype(np.float64) for name, kernel in params.items()}
    momentum = {name: np.zeros_like(kernel) for name, kernel in expected.items()}
    state = create_state(on_device(params), sgd, NoLossScale())
    for rate in rates:
        batch = linear.random_batch(rng)
        batch["mask"] = rng.random(8) < 0.7
        masked, batch["image"][~batch["mask"]] = batch, 255  # which must not count
        batch = {key: value[batch["mask"]] for key, value in masked.items()}
        grads = linear.gradients(expected, batch, WEIGHTS)
        norm = np.sqrt(sum((grad**2).sum() for grad in grads.values()))
        branches = linear.losses(expected, batch)
        losses = sum(WEIGHTS[name] * loss for name, loss in branches.items())
        hits = sum(linear.logits(expected, batch["image"]).values()).argmax(1) == batch["label"]
        for name, grad in grads.items():
            clipped = grad / max(1.0, norm / clip_norm)
            momentum[name] = 0.9 * momentum[name] + clipped
            expected[name] = expected[name] - rate * momentum[name]
        assert norm > 1  # or nothing would be clipped
        state, metrics = step(state, masked, RNG)
        values = compute(merge([metrics]))
        assert values["loss"] == pytest.approx(losses.mean(), rel=1e-5)
        for name, loss in branches.items():
            assert values[f"{name}_loss"] == pytest.approx(loss.mean(), rel=1e-5)
        assert values["gradient_norm"] == pytest.approx(norm, rel=1e-5)
        assert values["accuracy"] == pytest.approx(hits.mean())
        assert values["skipped"] == 0
    for name in params:
        np.testing.assert_allclose(state.params[name], expected[name], rtol=1e-4, atol=1e-6)
    assert (int(state.step), int(state.skipped)) == (3, 0)


def test_a_batch_without_a_readable_image_changes_nothing(rng):
    step, sgd = compiled_step(lambda count: 0.1 + 0.0 * count)
    params, batch = linear.random_params(rng), linear.random_batch(rng)
    batch["mask"][:] = False
    state, metrics = step(create_state(on_device(params), sgd, NoLossScale()), batch, RNG)
    assert compute(merge([metrics]))["gradient_norm"] == 0
    for name in params:
        np.testing.assert_array_equal(state.params[name], params[name])


def test_contrastive_pairs_lie_within_a_microbatch_which_counts_by_its_examples(rng):
    weights = WEIGHTS | {"contrastive": 0.5}
    step, sgd = compiled_step(lambda count: 0.0 * count, microbatches=2, weights=weights)
    params, batch = linear.random_params(rng), linear.random_batch(rng)
    batch["mask"][5:7] = False
    total, x = 0.0, batch["image"].reshape(8, -1)
    for rows in (np.arange(4), np.array([4, 7])):
        total += len(rows) * oracles.contrastive_loss(x[rows], batch["label"][rows])
    _, metrics = step(create_state(on_device(params), sgd, NoLossScale()), batch, RNG)
    values = compute(merge([metrics]))
    assert values["contrastive_loss"] == pytest.approx(total / 6, rel=1e-5)
    branches = sum(WEIGHTS[name] * values[f"{name}_loss"] for name in WEIGHTS)
    assert values["loss"] == pytest.approx(branches + 0.5 * total / 6, rel=1e-5)


@pytest.mark.parametrize("microbatches", [1, 4], ids=["one batch", "microbatches"])
def test_soft_targets_are_lowered_and_labels_reported(rng, microbatches):
    """Two steps on rows that a preparation made, against numpy; it sees all of the batch."""
    targets = rng.dirichlet(np.ones(5), 8).astype(np.float32) * rng.uniform(0.5, 2, (8, 1))

    def prepare(batch, key):
        order = jax.random.permutation(key, 8)
        return {**batch, "image": batch["image"][order], "target": jnp.asarray(targets)}

    step, sgd = compiled_step(
        lambda count: 0.01 + 0.0 * count,
        clip_norm=1e6,
        microbatches=microbatches,
        prepare=prepare,
        cross_entropy=target_losses,
    )
    params, batch = linear.random_params(rng), linear.random_batch(rng)
    state, orders, momentum = create_state(on_device(params), sgd, NoLossScale()), [], 0.0
    for number in range(2):
        key = jax.random.fold_in(jax.random.fold_in(RNG, number), 2**31 - 1)
        orders.append(np.asarray(jax.random.permutation(key, 8)))
        seen = batch | {"image": batch["image"][orders[-1]]}
        x = seen["image"].reshape(8, -1).astype(np.float64)
        logits, kernel = linear.logits(params, seen["image"])["local"], params["local"]
        probabilities = oracles.softmax(logits, axis=1) * targets.sum(axis=1, keepdims=True)
        momentum = 0.9 * momentum + WEIGHTS["local"] * x.T @ (probabilities - targets) / 8
        lowered = {
            name: -(targets * scipy.special.log_softmax(branch, axis=1)).sum(axis=1).mean()
            for name, branch in linear.logits(params, seen["image"]).items()
        }
        state, metrics = step(state, batch, RNG)
        values = compute(merge([metrics]))
        expected = sum(WEIGHTS[name] * loss for name, loss in lowered.items())
        assert values["loss"] == pytest.approx(expected, rel=1e-5)
        for name, loss in linear.losses(params, seen).items():
            assert values[f"{name}_loss"] == pytest.approx(loss.mean(), rel=1e-5)
        params = jax.device_get(state.params)
        np.testing.assert_allclose(params["local"], kernel - 0.01 * momentum, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(*orders)


class Noisy(nn.Module):
    """Logits that random numbers are added to, as dropout does."""

    @nn.compact
    def __call__(self, images, *, train):
        logits = linear.Linear()(images, train=train).logits["global"]
        logits += jax.random.normal(self.make_rng("dropout"), logits.shape)
        return ModelOutput({"global": logits}, {"global": logits}, None)


def test_every_batch_and_every_microbatch_draws_dropout_anew(rng):
    params = {"Linear_0": on_device(linear.random_params(rng))}
    microbatch = on_device(linear.random_batch(rng, 4))
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), microbatch)

    def loss(batch, number, microbatches):
        state = create_state(params, optax.identity(), NoLossScale())
        state = state.replace(step=jnp.array(number), skipped=jnp.array(number))
        _, averages = mean_gradients(
            state,
            batch,
            RNG,
            model=Noisy(),
            loss_weights={"global": 1.0},
            head="global",
            accumulation_steps=microbatches,
            strategy=SINGLE_DEVICE,
        )
        return compute(averages)["loss"]

    first = loss(microbatch, 0, 1)
    assert loss(microbatch, 0, 1) == first
    assert abs(loss(microbatch, 1, 1) - first) > 1e-3
    assert abs(loss(twice, 0, 2) - first) > 1e-3  # were it drawn alike, both microbatches would be


@pytest.mark.parametrize("head", ["global", "local", "sum"])
def test_accuracy_is_that_of_the_chosen_logits(rng, head):
    step, sgd = compiled_step(lambda count: 0.0 * count, head=head)
    params, batch = linear.random_params(rng), linear.random_batch(rng, 64)
    state = create_state(on_device(params), sgd, NoLossScale())
    logits = linear.logits(params, batch["image"])
    logits["sum"] = logits["global"] + logits["local"]
    hits = {name: (branch.argmax(1) == batch["label"]).sum() for name, branch in logits.items()}
    assert len(set(hits.values())) == 3  # so that no branch can stand in for another
    accuracy = step(state, batch, RNG)[1]["accuracy"]
    assert (float(accuracy.total), int(accuracy.count)) == (hits[head], 64)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 20), st.integers(1, 60), st.floats(1e-4, 1.0))
def test_learning_rate_is_the_closed_formula(warmup, rest, peak):
    steps = warmup + rest
    schedule = learning_rate_schedule(peak=peak, warmup_steps=warmup, num_steps=steps)
    for step in {0, warmup // 2, warmup, warmup + rest // 3, steps}:
        cosine = (1 + np.cos(np.pi * (step - warmup) / rest)) / 2
        expected = peak * (step / warmup if step < warmup else cosine)
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-4, atol=1e-6 * peak)


@pytest.mark.parametrize("warmup", [10, 11, -1])
def test_a_warm_up_as_long_as_the_training_is_refused(warmup):
    with pytest.raises(ValueError, match=f"warmup_steps={warmup} .*train.steps=10.*shorten"):
        learning_rate_schedule(peak=1.0, warmup_steps=warmup, num_steps=10)


def test_averages_merge_exactly_over_uneven_batches(rng):
    values = [rng.normal(size=size).astype(np.float32) for size in (1, 7, 3)]
    masks = [rng.random(size=part.shape) < 0.6 for part in values]
    values[1][~masks[1]] = np.nan  # what is masked may be anything
    reports = [
        {"x": average(jnp.asarray(part), jnp.asarray(mask))}
        for part, mask in zip(values, masks, strict=True)
    ]
    expected = np.concatenate(values)[np.concatenate(masks)].mean(dtype=np.float64)
    assert compute(merge(reports))["x"] == pytest.approx(expected, abs=1e-6)
    nothing = {"x": average(jnp.ones(3), jnp.zeros(3, bool))}
    assert np.isnan(compute(merge([nothing]))["x"])


# float16: gradients of bright images overflow until the scale has come down, those of black ones
# are zero. Logits stay near 0, so the losses are finite throughout.
LABELS = {"label": np.zeros(8, np.int32), "mask": np.ones(8, bool)}
BRIGHT = {"image": np.full((8, 2, 2, 3), 255, np.uint8), **LABELS}
BLACK = {"image": np.zeros((8, 2, 2, 3), np.uint8), **LABELS}


@pytest.fixture(scope="module")
def float16():
    step, sgd = compiled_step(lambda count: 1e-4 + 0.0 * count, dtype=jnp.float16)
    params = on_device(linear.random_params(np.random.default_rng(0)))
    return step, create_state(params, sgd, DynamicLossScale(), average_decay=0.9)


def test_an_overflow_changes_nothing_but_scale_and_counter(float16):
    step, state = float16
    state, _ = step(state, BLACK, RNG)  # momentum and counters are not all zero any more
    new, metrics = step(state, BRIGHT, RNG)
    for name in ("step", "params", "opt_state", "average"):
        jax.tree.map(np.testing.assert_array_equal, getattr(new, name), getattr(state, name))
    assert int(new.skipped) == int(state.skipped) + 1
    assert int(new.batch_number) == int(state.batch_number) + 1
    assert float(new.loss_scale.scale) == float(state.loss_scale.scale) / 2
    for name in ("loss", "global_loss", "local_loss", "accuracy", "gradient_norm"):
        assert (float(metrics[name].total), int(metrics[name].count)) == (0, 0), name
    _, fine = step(state, BLACK, RNG)
    alone, both = compute(merge([fine])), compute(merge([metrics, fine]))
    assert both == alone | {"skipped": 0.5}
    assert alone["loss"] == pytest.approx(sum(WEIGHTS.values()) * np.log(5), rel=1e-3)


def test_a_larger_batch_overflows_no_sooner(float16):
    step, state = float16
    skipped = []
    for copies in (1, 8):
        batch, found = jax.tree.map(lambda x, n=copies: np.repeat(x, n, axis=0), BRIGHT), state
        while int(found.step) == int(state.step):
            found, _ = step(found, batch, RNG)
        skipped.append(int(found.skipped))
    assert skipped[0] == skipped[1] > 0


def test_the_loop_goes_on_until_enough_updates_were_applied(float16):
    step, state = float16
    drawn, seen = [], []

    def batches():
        while True:
            drawn.append(len(drawn))
            yield BRIGHT

    final = train(
        state,
        step_fn=lambda state, batch: step(state, batch, RNG),
        batches=batches(),
        num_steps=4,
        actions=[lambda number, state, averages: seen.append((number, int(state.step)))],
        should_stop=lambda number: False,
    )
    skipped = int(final.skipped)
    assert int(final.step) == 4
    assert skipped > 0
    assert len(drawn) == 4 + skipped
    assert seen == [(i + 1, max(0, i + 1 - skipped)) for i in range(4 + skipped)]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(final.params))


def test_the_loop_stops_when_asked_and_a_finished_run_takes_no_batch(float16):
    step, state = float16
    rules = {"step_fn": lambda state, batch: step(state, batch, RNG), "actions": []}
    stopped = train(
        state,
        batches=iter([BLACK] * 2),
        num_steps=5,
        should_stop=lambda number: number == 2,
        **rules,
    )
    assert int(stopped.step) == 2
    again = train(stopped, batches=iter([]), num_steps=2, should_stop=lambda number: False, **rules)
    assert again is stopped


def report_of(tmp_path, every=2, peak_speed=math.nan):
    log = MetricsLog(tmp_path, tensorboard=False)
    return Report(
        every=every,
        batch_size=8,
        peak_speed=peak_speed,
        schedule=lambda step: jnp.float32(0.25 * step),
        largest_loss=5.0,
        recovery_advice=lambda: "Go back to 3.",
        stopwatch=Stopwatch(),
        log=log,
        progress=Progress(9),
    ), log


def averages_of(loss, skipped=False):
    """A step's averages: a loss, or an overflow."""
    counts = jnp.array(not skipped)
    return {
        "loss": average(jnp.full(8, loss), counts),
        "accuracy": average(jnp.ones(8), counts),
        "skipped": average(jnp.full(1, float(skipped)), jnp.array(True)),
    }


def test_a_loss_that_is_not_finite_stops_the_run(float16, tmp_path):
    _, state = float16
    state = state.replace(step=jnp.array(4))
    report, log = report_of(tmp_path)
    report(3, state, averages_of(1.0))
    message = r"nan at step 4\. Go back to 3\.$"
    with pytest.raises(FloatingPointError, match=message):
        report(4, state, averages_of(jnp.nan))
    (record,) = log.history()  # what led there can be read
    assert record["step"] == 4
    assert np.isnan(record["loss"])
    assert record["learning_rate"] == 0.75  # of the update from step 3 to 4


@pytest.mark.parametrize("peak_speed", [math.nan, 1e9])
def test_the_share_of_the_peak_is_reported_where_it_is_known(float16, tmp_path, capsys, peak_speed):
    _, state = float16
    report, log = report_of(tmp_path, peak_speed=peak_speed)
    for number in range(1, 5):
        report(number, state, averages_of(1.0))
    said = capsys.readouterr().out
    assert "nan" not in said
    assert ("  MFU 0.0%\n" in said) == ("MFU" in said) == math.isfinite(peak_speed)
    for figures in (log.history()[-1], report.speed()):
        speed = figures["images_per_second"]
        assert speed > 0
        mfu = None if math.isnan(peak_speed) else pytest.approx(speed / 1e9)
        assert figures.get("mfu") == mfu


@pytest.mark.parametrize("every", [1, 7, 100])
def test_overflows_stop_the_run_after_a_series_alone(float16, tmp_path, every):
    _, state = float16
    report, _ = report_of(tmp_path, every)
    number = 0
    for length in (1, 19, 12):  # an overflow or a few are ordinary
        for skipped in (*[True] * length, False):
            number += 1
            report(number, state, averages_of(1.0, skipped))
    report.finish(state)
    for _ in range(20):
        report._pending.append(averages_of(1.0, skipped=True))
    with pytest.raises(FloatingPointError, match=r"overflowed in the last 20 .*Go back"):
        report.finish(state)


def test_the_loss_is_in_its_range_until_it_is_not(float16, tmp_path):
    _, state = float16
    report, _ = report_of(tmp_path)
    assert not report.in_range()  # nothing is known
    assert report.divergence() == ""
    for losses, expected in (((5.0,), True), ((5.0, 6.0), False), ((4.0, 4.0), True)):
        for number, loss in enumerate(losses, start=1):
            report(number, state, averages_of(loss))
        assert report.in_range() == expected
        report.finish(state)
        assert report.in_range() == expected
        diverged = "the training diverged: its last loss is 5.5, expected at most 5,"
        assert report.divergence().startswith("" if expected else diverged)
        assert report.divergence().endswith("" if expected else "Go back to 3.")
        assert bool(report.divergence()) is not expected
    report(1, state, averages_of(1.0, skipped=True))
    assert report.in_range()  # as it was before the overflow
    report(1, state, averages_of(np.nan))
    assert not report.in_range()


def test_a_report_of_rows_that_could_not_be_read_is_no_divergence(float16, tmp_path):
    _, state = float16
    report, log = report_of(tmp_path)
    report(1, state, averages_of(1.0))
    nothing = averages_of(1.0)
    empty = {
        name: value.replace(total=np.float32(0), count=np.int32(0))
        for name, value in nothing.items()
        if name != "skipped"
    }
    report(1, state, nothing | empty)
    assert report.in_range()
    report.finish(state)
    assert log.history()[-1]["learning_rate"] == 0  # of the first step, which is to come


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_every_precision_learns_on_the_built_in_birds(precision):
    # AFTrans where the loss is scaled; the others share a program with test_precisions.py.
    changes = {} if precision == "float16" else {"model__name": "vit"}
    experiment = fresh(num_devices=1, precision=precision, **changes)
    assert experiment.dtype == precision
    state, losses = experiment.state, []
    batch = next(experiment.train_batches(0))
    while int(state.step) < 6:
        state, metrics = experiment.train_step(state, batch)
        losses += [compute(merge([metrics]))["loss"]] if metrics["loss"].count else []
        assert int(state.skipped) < 20
    assert len(losses) == 6
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] - 0.05
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.params))
