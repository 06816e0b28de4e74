"""Bar charts: the gates of layers, and how well confidence matches accuracy."""

import numpy as np
from jaxtyping import Float

from aftrans_jax.report.drawing import (
    MAX_NUMBERED,
    Bar,
    Plot,
    across,
    down,
    few,
    height_ticks,
    labels,
    layer_ticks,
    round_ticks,
    ticks,
)
from aftrans_jax.report.statistics import NUM_BINS, Calibration, share


def bars(
    title: str, means: Float[np.ndarray, " layers"], spreads: Float[np.ndarray, " layers"]
) -> Plot:
    """Returns the chart of layers' means in [0, 1] and their standard deviations, >= 0.

    Whiskers are cut off at 0 and 1.
    """
    count = len(means)
    ends = (0.4, count + 0.6)
    places = across(np.arange(1, count + 1), ends)
    tops, highs, lows = (down(y, (0, 1)) for y in (means, means + spreads, means - spreads))
    texts = [f"{mean:.2f}" if count <= MAX_NUMBERED else "" for mean in means]
    return Plot(
        title,
        x_name="layer",
        x_ticks=layer_ticks(count, ends),
        y_ticks=height_ticks(round_ticks(0.0, 1.0)),
        bars=[
            Bar(at, top, high, round(low - high, 1), label)
            for at, top, high, low, label in zip(places, tops, highs, lows, texts, strict=True)
        ],
        bar_width=round(280 / count, 1),
        spoken=few(means),
    )


def reliability(title: str, calibration: Calibration) -> Plot:
    """Returns the accuracy of each bin of confidence with its interval, in %.

    A mark across each bar is at the mean confidence of the bin.
    """
    marks = round_ticks(0.0, 100.0)
    drawn = []
    for number, count in enumerate(calibration.counts.tolist()):
        if not count:
            continue
        hits = share(round(calibration.accuracy[number] * count), count)
        (at,) = across([(number + 0.5) / NUM_BINS], (0, 1))
        shares = [hits.value, hits.high, hits.low, calibration.confidence[number]]
        top, high, low, mark = down(shares, (0, 1))
        drawn.append(Bar(at, top, high, round(low - high, 1), str(count), mark))
    return Plot(
        title,
        x_name="confidence, %",
        x_ticks=ticks(labels(marks), across(marks, marks)),
        y_ticks=height_ticks(marks),
        bars=drawn,
        bar_width=32.0,
        spoken=few(100 * calibration.accuracy[calibration.counts > 0]),
    )
