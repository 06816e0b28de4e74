"""Evaluation: each image once, padding never; accuracies and boxes against numpy and oracles."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training import linear

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.loader import eval_batches
from aftrans_jax.data.sets.subsets import Subset
from aftrans_jax.model.outputs import ModelOutput, Region
from aftrans_jax.training import metrics
from aftrans_jax.training.evaluation import eval_step, evaluate, localization, relevance
from aftrans_jax.training.sharding import (
    BATCH_SPLIT,
    REPLICATED,
    all_sum,
    device_mesh,
    per_device,
    to_devices,
)

BATCH, SIZE, WEIGHTS = 8, 32, {"global": 0.7, "local": 1.9}
BOX = st.tuples(*[st.integers(0, SIZE - 1)] * 2, *[st.integers(1, SIZE)] * 2).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], SIZE), min(b[1] + b[3], SIZE))
)
SIGNS = np.array([-1, -1, 1, 1])  # of a box's corners, from its middle
LOCALIZATION = jax.jit(partial(localization, image_size=SIZE))
MEASURES = jax.jit(
    lambda boxes, others: (
        metrics.box_iou(boxes, others),
        metrics.box_contains(boxes, others),
        metrics.box_area(boxes),
        metrics.centred_box(boxes, SIZE),
    )
)
TOP5 = jax.jit(metrics.in_top5)


class Noise:
    """2 x 2 images in memory; the labels are those of `linear`."""

    def __init__(self, length):
        self.names = [f"noise/{index}" for index in range(length)]
        self.labels = [0] * length  # not read

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        batch = linear.random_batch(np.random.default_rng(index), 1)
        box = np.array([0, 0, 2, 2], np.float32)
        return Example(batch["image"][0], int(batch["label"][0]), box)


@pytest.fixture(scope="module")
def step():
    """`eval_step` as build compiles it, on four devices."""
    rules = {
        "model": linear.Linear(),
        "loss_weights": WEIGHTS,
    }
    specs = (REPLICATED, BATCH_SPLIT)
    step = partial(eval_step, all_sum=all_sum, **rules)
    return per_device(step, device_mesh(), arguments=specs, results=specs)


@pytest.mark.parametrize("length", [1, 8, 20, 31])
def test_every_image_counts_once_and_padding_never(step, rng, length):
    source, params, shown = Noise(length), linear.random_params(rng), []
    batches = eval_batches(
        source,
        batch_size=BATCH,
        image_size=2,
        resize_size=2,
        process_index=0,
        process_count=1,
        num_threads=0,
    )

    def watched(batch):
        assert batch["image"].sharding.num_devices == 4
        shown.extend(np.asarray(batch["index"])[np.asarray(batch["mask"])].tolist())
        return step(params, batch)

    result = evaluate(watched, to_devices(batches, device_mesh()))
    assert shown == list(range(length))
    assert result.num_examples == length
    assert result.outcomes["index"].tolist() == list(range(length))

    examples = [source[index] for index in range(length)]
    batch = {
        "image": np.stack([example.image for example in examples]),
        "label": np.array([example.label for example in examples]),
    }
    logits = linear.logits(params, batch["image"])
    logits["sum"] = logits["global"] + logits["local"]
    for name, branch in logits.items():
        hits = branch.argmax(axis=1) == batch["label"]
        assert result.scores[f"{name}_accuracy"] == pytest.approx(hits.mean(), abs=1e-12), name
        predicted = result.outcomes["predicted"][name]
        np.testing.assert_array_equal(predicted, branch.argmax(axis=1), err_msg=name)
    losses = {name: loss.mean() for name, loss in linear.losses(params, batch).items()}
    for name, loss in losses.items():
        assert result.scores[f"{name}_loss"] == pytest.approx(loss, rel=1e-5)
    assert not [name for name in result.scores if "top5" in name]  # of five classes it says nothing
    loss = sum(WEIGHTS[name] * loss for name, loss in losses.items())
    assert result.scores["loss"] == pytest.approx(loss, rel=1e-5)
    expected = oracles.softmax(logits["sum"], axis=1)
    np.testing.assert_array_equal(result.outcomes["label"], batch["label"])
    confidence = result.outcomes["confidence"]["sum"]
    np.testing.assert_allclose(confidence, expected.max(axis=1), atol=1e-5)


class Wide(nn.Module):
    """Twelve logits a branch: the image's pixels, and products of them."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        x = images.reshape(len(images), -1) / jnp.float32(256)
        return ModelOutput({"global": x, "local": jnp.roll(x, 1, axis=1) * x}, {}, None)


def test_top5_counts_each_image_once_and_padding_never():
    specs = (REPLICATED, BATCH_SPLIT)
    step = partial(eval_step, all_sum=all_sum, model=Wide(), loss_weights=WEIGHTS)
    compiled = per_device(step, device_mesh(), arguments=specs, results=specs)
    sizes = {"image_size": 2, "resize_size": 2, "process_index": 0, "process_count": 1}
    source = Noise(21)
    batches = eval_batches(source, batch_size=BATCH, num_threads=0, **sizes)
    scores = evaluate(partial(compiled, {}), to_devices(batches, device_mesh())).scores
    pixels = np.stack([source[index].image.ravel() for index in range(21)]) / np.float32(256)
    logits = {"global": pixels, "local": np.roll(pixels, 1, axis=1) * pixels}
    logits["sum"] = logits["global"] + logits["local"]
    labels = [source[index].label for index in range(21)]
    for head, values in logits.items():
        places = np.argsort(-values, axis=1, kind="stable")[:, :5]
        expected = np.mean([label in row for label, row in zip(labels, places, strict=True)])
        assert scores[f"{head}_top5_accuracy"] == pytest.approx(expected, abs=1e-6), head
        assert scores[f"{head}_accuracy"] < expected < 1


def test_top5_is_scikit_learns_where_no_logits_are_equal(rng):
    reason = "scikit-learn is an extra: aftrans-jax[study]"
    sklearn = pytest.importorskip("sklearn.metrics", reason=reason)
    logits = rng.permuted(np.tile(np.arange(9, dtype=np.float32), (200, 1)), axis=1)
    labels = rng.integers(0, 9, 200)
    expected = sklearn.top_k_accuracy_score(labels, logits, k=5, labels=range(9))
    assert float(TOP5(logits, labels).mean()) == pytest.approx(expected, abs=1e-6)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("logits", "right"),
    [
        ([0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0]),  # in the order of the classes
        ([2, 1, 1, 2, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]),
        ([1, 1, 1, 2, 1, 1, 2], [1, 1, 1, 1, 0, 0, 1]),
        ([1, 2, 3, 4, 5, INF, -INF], [0, 1, 1, 1, 1, 1, 0]),
        ([1, 2, 3, 4, 5, 6, NAN], [0, 0, 1, 1, 1, 1, 0]),
        ([NAN] * 7, [0] * 7),
    ],
)
def test_top5_of_equal_logits_and_of_none(logits, right):
    rows = np.tile(np.float32(logits), (7, 1))
    assert TOP5(rows, np.arange(7)).tolist() == right


class Looking(nn.Module):
    """Boxes and gates that can be told from the image; as gates, its first two pixels' reds."""

    has_gates: bool

    @nn.compact
    def __call__(self, images, *, train):
        logits = linear.Linear()(images, train=train).logits
        gate = images[:, 0, :, 0] / 255
        box = jnp.concatenate([images[:, 0, :, 0], images[:, 1, :, 0]], axis=1).astype(jnp.int32)
        maps = images[..., 0] / 255
        region = Region(gate if self.has_gates else None, maps, maps > 0, box)
        return ModelOutput(logits, logits, region)


@pytest.mark.parametrize("has_gates", [True, False])
def test_outcomes_hold_each_images_box_and_gates(rng, has_gates):
    rules = {"loss_weights": WEIGHTS, "all_sum": lambda tree: tree}
    step = jax.jit(partial(eval_step, model=Looking(has_gates), **rules))
    source = Noise(5)
    sizes = {"image_size": 2, "resize_size": 2, "process_index": 0, "process_count": 1}
    batches = eval_batches(source, batch_size=4, num_threads=0, **sizes)
    params = {"Linear_0": linear.random_params(rng)}
    found = evaluate(partial(step, params), batches).outcomes
    reds = np.stack([source[index].image[:, :, 0].ravel() for index in range(5)])
    np.testing.assert_array_equal(found["box"], reds)
    assert ("gate" in found) == has_gates
    if has_gates:
        np.testing.assert_allclose(found["gate"], reds[:, :2] / 255, atol=1e-6)


def test_a_second_look_sees_the_relevance_of_each_image(rng):
    rules = {"loss_weights": WEIGHTS, "all_sum": lambda tree: tree}
    sizes = {"image_size": 2, "resize_size": 2, "process_index": 0, "process_count": 1}
    params = {"Linear_0": linear.random_params(rng)}
    source = Subset(Noise(9), (7, 0, 4, 4, 8))  # in this order, and the last batch is padded

    def look(model):
        step = jax.jit(partial(eval_step, model=model, **rules))
        batches = eval_batches(source, batch_size=4, num_threads=0, **sizes)
        return relevance(partial(step, params), batches)

    found = look(Looking(has_gates=False))
    reds = np.stack([source[index].image[:, :, 0] for index in range(5)])
    np.testing.assert_allclose(found, reds / 255, atol=1e-6)
    params = params["Linear_0"]
    assert look(linear.Linear()) is None


def test_the_sum_is_the_sum_of_logits_and_a_lone_branch_has_none(rng):
    one, two = rng.normal(size=(2, 3, 5)).astype(np.float32)
    logits = {"global": jnp.asarray(one), "local": jnp.asarray(two)}
    both = metrics.prediction_logits(logits)
    assert list(both) == ["global", "local", "sum"]
    np.testing.assert_array_equal(both["sum"], one + two)
    assert list(metrics.prediction_logits({"global": logits["global"]})) == ["global"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(BOX, BOX), min_size=4, max_size=4))
def test_box_measures_against_the_oracles(pairs):
    boxes, others = (jnp.array(side, jnp.int32) for side in zip(*pairs, strict=True))
    iou, contains, area, middle = MEASURES(boxes, others)
    middle = np.asarray(middle, np.float64)
    for row, (box, other) in enumerate(pairs):
        assert float(iou[row]) == pytest.approx(oracles.iou(box, other), abs=1e-6)
        assert bool(contains[row]) == oracles.contains(box, other)
        assert int(area[row]) == oracles.area(box)
        top, left, bottom, right = middle[row]
        assert (top + bottom, left + right) == pytest.approx((SIZE, SIZE), abs=1e-4)
        assert bottom - top == pytest.approx(right - left, abs=1e-4)
        assert oracles.area(middle[row]) == pytest.approx(oracles.area(box), rel=1e-5)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(BOX, BOX), min_size=6, max_size=6),
    st.lists(st.sampled_from(["real", "unannotated", "padding"]), min_size=6, max_size=6),
)
def test_localization_averages_over_real_and_annotated_images(pairs, kinds):
    boxes, annotated = (np.array(side) for side in zip(*pairs, strict=True))
    given_boxes = annotated.astype(np.float32)
    given_boxes[[kind != "real" for kind in kinds]] = np.nan
    mask = np.array([kind != "padding" for kind in kinds])
    region = Region(jnp.ones((6, 2)), jnp.ones((6, 2, 2)), jnp.ones((6, 2, 2)), jnp.asarray(boxes))
    averages = LOCALIZATION(region, given_boxes, mask)
    known = [pair for pair, kind in zip(pairs, kinds, strict=True) if kind == "real"]
    areas = [oracles.area(box) / SIZE**2 for box, real in zip(boxes, mask, strict=True) if real]
    ious, inside = ([f(*pair) for pair in known] for f in (oracles.iou, oracles.contains))
    middles = [SIZE / 2 + oracles.area(box) ** 0.5 / 2 * SIGNS for box, _ in known]
    centred = [oracles.iou(*pair) for pair in zip(middles, [b for _, b in known], strict=True)]
    wanted = {"box_area_mean": areas, "box_iou_mean": ious, "box_contains_mean": inside}
    wanted["centred_box_iou_mean"] = centred
    for name, values in wanted.items():
        assert int(averages[name].count) == len(values), name
        assert float(averages[name].total) == pytest.approx(sum(values), abs=1e-5), name
