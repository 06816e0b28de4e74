"""Plots of several runs: places worked out by hand, and what is drawn of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import Page

from aftrans_jax.report.drawing import FRAME, round_ticks
from aftrans_jax.report.html import page_template
from aftrans_jax.report.plots import Measured, by_layer, curves, dots, points_of, scatter


def drawn(plot) -> Page:
    template = page_template("plots.html")
    return Page(template.module.draw(plot, FRAME))


@given(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.floats(0, 1e6, allow_subnormal=False),
    st.booleans(),
)
def test_ticks_are_round_even_and_around_the_range(low, span, has_zero):
    marks = np.array(round_ticks(low, low + span, has_zero=has_zero))
    steps = np.diff(marks)
    step = steps[0]
    assert 2 <= len(marks) <= 8
    np.testing.assert_allclose(steps, step, rtol=1e-6)
    assert round(step / 10.0 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)
    slack = 1e-9 * max(1, abs(low), abs(low + span))
    assert marks[0] <= low + slack
    assert marks[-1] >= low + span - slack
    assert not has_zero or marks[0] <= 0 <= marks[-1]


@pytest.mark.parametrize(
    ("ends", "has_zero", "expected"),
    [
        ((86.2, 93.9), False, [86, 88, 90, 92, 94]),
        ((5.9, 7.4), True, [0, 2, 4, 6, 8]),
        ((-0.4, 4.9), True, [-2, 0, 2, 4, 6]),
        ((0.0, 1.0), False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((90.0, 90.0), False, [89, 89.2, 89.4, 89.6, 89.8, 90]),  # of an accuracy alone
        ((0.2, 0.2), False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((-0.1, 0.2), True, [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_golden(ends, has_zero, expected):
    found = round_ticks(*ends, has_zero=has_zero, least=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(st.floats(0, 100), st.floats(0, 100), st.booleans())
def test_ticks_of_accuracies_are_labelled_differently(low, high, is_difference):
    value = Measured(0, "a", low, low, high)
    plot = dots("t", "%", [value], has_zero=is_difference)
    assert len({label for _, label in plot.x_ticks}) == len(plot.x_ticks) > 1
    if not is_difference and abs(low - high) < 1:
        labels = [float(label) for _, label in plot.x_ticks]
        assert 1 <= labels[-1] - labels[0] <= 2
        assert 0 <= labels[0] < labels[-1] <= 100


@given(st.integers(0, 10**6), st.floats(0, 1e29, allow_subnormal=False))
def test_ticks_of_curves_are_labelled_differently_and_steps_are_whole(steps, loss):
    plot = curves("t", {0: (np.array([float(steps)]), np.array([loss]))})
    assert [str(int(label)) for _, label in plot.x_ticks] == [label for _, label in plot.x_ticks]
    for ticks in (plot.x_ticks, plot.y_ticks):
        assert len({label for _, label in ticks}) == len(ticks) > 1


def test_labels_have_the_decimals_of_their_step():
    values = [Measured(0, "a", 86.41, math.nan, math.nan), Measured(1, "b", 86.43, 86.4, 86.5)]
    labels = [label for _, label in dots("t", "%", values).x_ticks]
    assert labels == ["85.4", "85.6", "85.8", "86.0", "86.2", "86.4", "86.6"]
    labels = [label for _, label in curves("t", {0: (np.array([2400.0]), np.ones(1))}).x_ticks]
    assert labels == ["0", "600", "1200", "1800", "2400"]


def test_dots_golden():
    """86..94 lie on 13..508 px, 61.875 px each; a row of one line takes 20 + 8 + 14 px."""
    plot = dots(
        "Accuracy",
        "%",
        [
            Measured(0, "ViT", 88.0, 86.0, 90.0, (86.5, 89.5)),
            Measured(3, "AFTrans", 94.0, math.nan, math.nan),
        ],
    )
    assert plot.x_ticks == [*((13, "86"), (136.8, "88"), (260.5, "90"), (384.2, "92"), (508, "94"))]
    first, second = plot.dots
    assert first == (0, "ViT: 88.0", [(38, "ViT: 88.0")], 136.8, 13, 260.5, [43.9, 229.6], 50)
    assert second == (3, "AFTrans: 94.0", [(80, "AFTrans: 94.0")], 508, 508, 508, [], 92)
    assert (plot.bottom, plot.height, plot.zero) == (106, 152, None)
    shown = drawn(plot)
    assert shown.all("svg")[0]["viewbox"] == "0 0 520 152"
    assert shown.all("svg")[0]["aria-label"] == "Accuracy: ViT: 88.0, AFTrans: 94.0"
    assert shown.paths("arm") == ["M13.0 50H260.5", "M508.0 92H508.0"]
    circles = [(c["cx"], c["cy"]) for c in shown.all("circle") if c["r"] == "5"]
    assert circles == [("136.8", "50"), ("508.0", "92")]
    assert [c["cx"] for c in shown.all("circle") if c["r"] == "3"] == ["43.9", "229.6"]
    assert [g["class"] for g in shown.all("g")] == ["s0", "s3"]


def test_differences_have_a_line_at_zero():
    """-2..6 lie on 13..508 px."""
    plot = dots("Gain", "points", [Measured(1, "a", 2.0, -0.4, 4.9)], has_zero=True)
    assert plot.zero == 136.8
    assert plot.dots[0].label == "a: +2.0"
    assert "M136.8 22V64" in drawn(plot).paths("whisker")


def test_a_long_name_is_broken_and_moves_what_follows():
    name = "runs/resolution/" + "aftrans-448-px-stride-12-" * 3 + "seed0, and another"
    one, other = dots(
        "t", "%", [Measured(0, name, 1.0, 0.0, 2.0), Measured(1, "b", 1.0, 0.0, 2.0)]
    ).dots
    texts = [line.label for line in one.lines]
    assert len(texts) == 3
    assert max(map(len, texts)) <= 50
    assert "".join(texts).replace(" ", "") == f"{name}: 1.0".replace(" ", "")
    assert [line.at for line in one.lines] == [38, 58, 78]
    assert one.y == 90
    assert other.lines == [(120, "b: 1.0")]
    labels = [t for t in drawn(dots("t", "%", [Measured(0, name, 1.0, 0.0, 2.0)])).all("text")]
    assert [t["y"] for t in labels if t.get("class") == "label"] == ["38", "58", "78"]


def test_scatter_golden():
    """2..16 GFLOP are 1..4 of the logarithm on 52..508 px; 80..95 % on 190..22 px."""
    plot = scatter("Cost", "GFLOP", [(0, 4.0, 80.0), (9, 8.0, 95.0)])
    assert plot.x_ticks == [(52, "2"), (204, "4"), (356, "8"), (508, "16")]
    assert plot.y_ticks == [(190, "80"), (134, "85"), (78, "90"), (22, "95")]
    assert plot.points == [(0, 204, 190), (9, 356, 22)]
    shown = drawn(plot)
    assert [g["class"] for g in shown.all("g")] == ["s0", "s1 dashed"]
    assert [(c["cx"], c["cy"]) for c in shown.all("circle")] == [
        *(("204.0", "190.0"), ("356.0", "22.0"))
    ]


def test_curves_golden():
    """0..100 steps on 52..508 px, 0..4 on 190..22 px; what cannot be drawn is left out."""
    history = [{"step": 0, "loss": 4.0}, {"step": 50, "loss": math.nan}, {"step": 100, "loss": 1.0}]
    plot = curves("Loss", {2: points_of(history, "loss")})
    assert plot.curves == [(2, [(52, 22), (508, 148)])]
    assert drawn(plot).paths("line") == ["M52.0 22.0 508.0 148.0h0"]
    assert not drawn(plot).all("circle")
    assert points_of([{"step": 1}], "loss") is None


def test_layers_golden():
    """0.5..3.5 lie on 52..508 px, 152 px each; 0..1 on 190..22 px; a level has no points."""
    values = {0: {1: 0.25, 2: 0.5, 3: 1.0}, 4: {2: 0.75}}
    plot = by_layer("Gates", values, {5: 0.125}, (0.0, 1.0))
    assert plot.x_name == "layer"
    assert plot.x_ticks == [(128, "1"), (280, "2"), (432, "3")]
    assert plot.y_ticks[0] == (190, "0.0")
    assert plot.y_ticks[-1] == (22, "1.0")
    assert plot.curves == [
        (0, [(128, 148), (280, 106), (432, 22)]),
        (4, [(280, 64)]),
        (5, [(52, 169), (508, 169)]),
    ]
    assert plot.points == [(0, 128, 148), (0, 280, 106), (0, 432, 22), (4, 280, 64)]
    assert drawn(plot).paths("line") == [
        *("M128.0 148.0 280.0 106.0 432.0 22.0h0", "M280.0 64.0h0", "M52.0 169.0 508.0 169.0h0")
    ]


@pytest.mark.parametrize(("layers", "shown"), [(12, 12), (16, 16), (24, 12), (32, 16)])
def test_many_layers_have_fewer_ticks(layers, shown):
    assert len(by_layer("t", {0: {layers: 0.5}}, {}, (0.0, 1.0)).x_ticks) == shown
