import math

import numpy as np
import pytest

from aftrans_jax.report.charts import bars, charts, curve, step_ticks, y_ticks


@pytest.mark.parametrize(
    ("peak", "expected"),
    [
        (0.0, [0, 0.0025, 0.005, 0.0075, 0.01]),  # never lower than a hundredth
        (0.0042, [0, 0.0025, 0.005, 0.0075, 0.01]),
        (0.73, [0, 0.2, 0.4, 0.6, 0.8]),
        (0.81, [0, 0.25, 0.5, 0.75, 1]),
        (1.0, [0, 0.25, 0.5, 0.75, 1]),
        (1.01, [0, 0.5, 1, 1.5, 2]),
        (4.0, [0, 1, 2, 3, 4]),
        (4.1, [0, 1.5, 3, 4.5, 6]),
        (13.0, [0, 5, 10, 15, 20]),
        (950.0, [0, 250, 500, 750, 1000]),
    ],
)
def test_y_ticks_golden(peak, expected):
    np.testing.assert_allclose(y_ticks(peak), expected, rtol=1e-12)


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


def test_curve_golden():
    """Steps 0..10 lie on 52..508 px, 45.6 px each; 0..4 on 190..22 px from above, 42 px each."""
    chart = curve("Training loss", np.array([0.0, 5.0, 10.0]), np.array([4.0, 3.0, 0.5]))
    assert (chart.title, chart.x_name) == ("Training loss", "step")
    assert chart.x_ticks == [(52, "0"), (143.2, "2"), (280, "5"), (416.8, "8"), (508, "10")]
    assert chart.y_ticks == [(190, "0"), (148, "1"), (106, "2"), (64, "3"), (22, "4")]
    assert chart.line == [(52, 22), (280, 64), (508, 169)]
    assert chart.values == ["4", "3", "0.5"]
    assert not chart.bars


@pytest.mark.parametrize(("step", "at"), [(0.0, 52), (1.0, 508), (7.0, 508)])
def test_curve_of_one_point(step, at):
    chart = curve("Training loss", np.array([step]), np.array([1.0]))
    assert chart.line == [(at, 22)]
    assert (chart.x_ticks[0], chart.x_ticks[-1]) == ((52, "0"), (at, f"{step:.0f}"))


def test_bars_golden():
    """Two layers share 456 px over 0.4..2.6, and 0..1 lies on 190..22 px from above."""
    chart = bars("Gates", np.array([0.25, 0.5]), np.array([0.125, 0.0]))
    assert chart.x_name == "layer"
    assert chart.x_ticks == [(176.4, "1"), (383.6, "2")]  # 52 + 456 * 0.6 / 2.2 and * 1.6 / 2.2
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.25", "0.5", "0.75", "1"]
    assert chart.bars == [(176.4, 148, 127, 42, "0.25"), (383.6, 106, 106, 0, "0.50")]
    assert chart.bar_width == 140
    assert not chart.line


@pytest.mark.parametrize(
    ("layers", "shown", "is_numbered"),
    [(1, 1, True), (16, 16, True), (17, 9, False), (34, 12, False)],
)
def test_bars_of_many_layers_leave_labels_out(layers, shown, is_numbered):
    chart = bars("Gates", np.full(layers, 0.5), np.zeros(layers))
    assert len(chart.bars) == layers
    assert len(chart.x_ticks) == shown  # every one, every second, every third
    assert {bar.label for bar in chart.bars} == {"0.50" if is_numbered else ""}


@pytest.mark.parametrize("count", [1, 39, 40, 79, 80, 1000])
def test_at_most_forty_values_are_read_out(count):
    chart = curve("loss", np.arange(count, dtype=float), np.ones(count))
    assert 1 <= len(chart.values) <= 40
    assert len(chart.line) == count


def test_charts_are_of_what_is_finite():
    history = [
        {"step": 20, "loss": 1.0},
        {"step": 10, "loss": 2, "accuracy": np.float32(0.5)},
        {"step": 30, "loss": math.nan, "accuracy": math.inf},
        {"step": 40},
    ]
    gates = np.array([[0.25, 0.5], [0.75, 0.5], [np.nan, 0.9]], np.float32)
    loss, accuracy, gate = charts(history, gates)
    assert loss.values == ["2", "1"]  # by step
    assert accuracy.values == ["0.5"]
    assert gate.values == ["0.5", "0.5"]
    assert [bar.spread for bar in gate.bars] == [84, 0]  # twice 0.25 of 168 px
    assert charts([], None) == []
