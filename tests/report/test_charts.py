import math

import numpy as np
import pytest

from aftrans_jax.report.charts import bars, reliability
from aftrans_jax.report.drawing import step_ticks
from aftrans_jax.report.plots import curves
from aftrans_jax.report.statistics import Calibration
from aftrans_jax.report.training import training_charts


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (0.0, [0]),
        (1.0, [0, 1]),  # 0.25 and 0.5 round to 0, 0.75 to 1
        (10.0, [0, 2, 5, 8, 10]),  # 2.5 and 7.5 round to even
        (300.0, [0, 75, 150, 225, 300]),
        (10000.0, [0, 2500, 5000, 7500, 10000]),
    ],
)
def test_step_ticks_golden(last, expected):
    np.testing.assert_array_equal(step_ticks(last), expected)


def test_an_axis_may_be_as_short_as_tiny_values():
    """Steps of 1e-12 take 42 px each."""
    chart = curves("Rate", {0: (np.array([0.0]), np.array([3.9e-12]))}, least=1e-12)
    assert chart.y_ticks == [
        *((190, "0"), (148, "1e-12"), (106, "2e-12"), (64, "3e-12"), (22, "4e-12"))
    ]


def test_curves_golden():
    """Steps 0..10 lie on 52..508 px, 45.6 px each; 0..4 on 190..22 px from above, 42 px each."""
    lines = {
        0: (np.array([0.0, 5.0, 10.0]), np.array([4.0, 3.0, 0.5])),
        1: (np.array([10.0]), np.array([2.0])),
    }
    chart = curves("Loss", lines, names={0: "training", 1: "test"}, last=10.0)
    assert (chart.title, chart.x_name) == ("Loss", "step")
    assert chart.x_ticks == [(52, "0"), (143.2, "2"), (280, "5"), (416.8, "8"), (508, "10")]
    assert chart.y_ticks == [(190, "0"), (148, "1"), (106, "2"), (64, "3"), (22, "4")]
    assert chart.curves == [(0, [(52, 22), (280, 64), (508, 169)]), (1, [(508, 106)])]
    assert chart.points == [(0, 52, 22), (0, 280, 64), (0, 508, 169), (1, 508, 106)]
    assert chart.spoken == ["training 4", "3", "0.5", "test 2"]
    assert not chart.bars


def test_a_curve_ends_where_the_axis_does_only_if_it_goes_that_far():
    chart = curves("Loss", {0: (np.array([5.0]), np.array([1.0]))}, last=10.0)
    assert chart.curves == [(0, [(280, 22)])]
    chart = curves("Loss", {0: (np.array([20.0]), np.array([1.0]))}, last=10.0)
    assert chart.curves == [(0, [(508, 22)])]
    assert chart.x_ticks[-1] == (508, "20")


def test_reliability_golden():
    """0..100 % lie on 52..508 px across and on 190..22 px from above; 0.5 of 4 is at 106 px."""
    counts = np.array([0] * 5 + [4] + [0] * 4)
    accuracy = np.where(counts, 0.5, np.nan)
    confidence = np.where(counts, 0.525, np.nan)
    chart = reliability("Accuracy", Calibration(counts, confidence, accuracy, 0.025, 0.525))
    (bar,) = chart.bars
    assert (bar.at, bar.top, bar.label) == (302.8, 106, "4")
    # Wilson of 2 in 4 is 0.5 ± 1.96 sqrt(0.25/4 + 1.96²/64) / (1 + 1.96²/4): 0.15 to 0.85
    assert bar.spread_top == pytest.approx(47.2, abs=0.1)
    assert bar.spread == pytest.approx(117.6, abs=0.2)
    assert bar.mark == 101.8  # 190 - 0.525 * 168


def test_bars_golden():
    """Two layers share 456 px over 0.4..2.6, and 0..1 lies on 190..22 px from above."""
    chart = bars("Gates", np.array([0.25, 0.5]), np.array([0.125, 0.0]))
    assert chart.x_name == "layer"
    assert chart.x_ticks == [(176.4, "1"), (383.6, "2")]  # 52 + 456 * 0.6 / 2.2 and * 1.6 / 2.2
    assert [tick.label for tick in chart.y_ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert chart.bars == [(176.4, 148, 127, 42, "0.25", None), (383.6, 106, 106, 0, "0.50", None)]
    assert chart.bar_width == 140
    assert not chart.curves


def test_whiskers_end_at_0_and_1():
    chart = bars("Gates", np.array([0.875, 0.25]), np.array([0.25, 0.5]))
    assert chart.bars[0][1:4] == (43, 22, 63)  # from 1 down to 0.625
    assert chart.bars[1][1:4] == (148, 64, 126)  # from 0.75 down to 0


@pytest.mark.parametrize(
    ("layers", "shown", "is_numbered"),
    [(1, 1, True), (16, 16, True), (17, 9, False), (34, 12, False)],
)
def test_bars_of_many_layers_leave_labels_out(layers, shown, is_numbered):
    chart = bars("Gates", np.full(layers, 0.5), np.zeros(layers))
    assert len(chart.bars) == layers
    assert len(chart.x_ticks) == shown  # every one, every second, every third
    assert {bar.label for bar in chart.bars} == {"0.50" if is_numbered else ""}


@pytest.mark.parametrize("count", [1, 12, 13, 39, 40, 79, 80, 199, 200, 10_000])
@pytest.mark.parametrize("num_series", [1, 3, 60])
def test_few_values_are_read_out_and_drawn(count, num_series):
    line = (np.arange(count, dtype=float), np.ones(count))
    chart = curves("loss", dict.fromkeys(range(num_series), line), names={0: "one"})
    assert num_series <= len(chart.spoken) <= max(40, num_series)
    for _, points in chart.curves:
        assert min(count, 100) <= len(points) <= 200
        assert points[-1][0] == (508 if count > 1 else 52)
    marked = num_series if count == 1 else count if count <= 12 else 0  # else of the named one
    assert len(chart.points) == marked


TRAIN = [
    {"step": 20, "loss": 1.0, "learning_rate": 1e-5},
    {"step": 10, "loss": 2, "accuracy": np.float32(0.5), "learning_rate": 3e-5},
    {"step": 30, "loss": math.nan, "accuracy": math.inf, "gradient_norm": 3.5},
    {"step": 40, "loss": 1e300},
]


def test_training_and_what_was_evaluated_meanwhile_share_their_axes():
    tested = [{"step": 40, "loss": 8.0, "sum_accuracy": 0.25, "global_accuracy": 0.75}]
    found = training_charts({"train": TRAIN, "test": tested}, None, "sum")
    accuracy, loss, rate, norm = found
    assert list(accuracy.names.values()) == ["training", "test images"]
    assert accuracy.spoken == ["training 50", "test images 25"]
    assert [tick.label for tick in accuracy.y_ticks] == [
        "0",
        "20",
        "40",
        "60",
        "80",
        "100",
    ]  # always
    assert accuracy.curves[1] == (1, [(508, 148)])
    assert loss.spoken == ["training 2", "1", "test images 8"]  # by step
    assert rate.spoken == ["3e-05", "1e-05"]
    assert rate.curves[0][1][0][1] < 106  # tiny values fill their axis
    assert norm.spoken == ["3.5"]
    assert {chart.x_ticks[-1].label for chart in found} == {"40"}


def test_validation_images_are_drawn_rather_than_the_test_at_the_end():
    scored = {"step": 40, "loss": 8.0, "global_accuracy": 0.25}
    history = {"train": TRAIN, "validation": [scored], "test": [scored]}
    accuracy, *_ = training_charts(history, None, "global")
    assert list(accuracy.names.values()) == ["training", "validation images"]


def test_branches_are_drawn_where_there_are_two():
    records = [{"step": 1, "global_loss": 2.0}, {"step": 2, "global_loss": 1.0}]
    assert training_charts({"train": records}, None, "global") == []
    records[1]["local_loss"] = 3.0
    (chart,) = training_charts({"train": records}, None, "global")
    assert chart.spoken == ["global 2", "1", "local 3"]


def test_gates_are_of_images_whose_gates_are_finite():
    gates = np.array([[0.25, 0.5], [0.75, 0.5], [np.nan, 0.9]], np.float32)
    (gate,) = training_charts({}, gates, "global")
    assert gate.spoken == ["0.5", "0.5"]
    assert [bar.spread for bar in gate.bars] == [84, 0]  # twice 0.25 of 168 px
    assert training_charts({}, None, "global") == []


@pytest.mark.parametrize("loss", [0.0, 1e-30, 0.01, 9.999999999999999, 10.0, 1e29])
def test_any_loss_lies_within_the_frame(loss):
    (chart,) = training_charts({"train": [{"step": 0, "loss": loss}]}, None, "global")
    ((_, ((x, y),)),) = chart.curves
    assert x == 52
    assert 22 <= y <= 190
