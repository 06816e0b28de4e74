"""The charts of a training: its records over steps, and its gates."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from aftrans_jax.report.charts import Chart, Points, bars, curves
from aftrans_jax.report.pictures import Number

Records = Sequence[Mapping[str, Number]]
_LARGEST = 1e30  # what is larger cannot be drawn
_ANY = 1e-12  # lower end of an axis whose values may be tiny


def training_charts(
    history: Mapping[str, Records],
    gates: Float[np.ndarray, "images layers"] | None,
    reported: str,
) -> list[Chart]:
    """Returns what was recorded over steps, and the gates, as far as there are finite values.

    All curves share their x axis; accuracies lie on 0 to 100 %, those of training and of the split
    that was evaluated meanwhile on the same axes.

    Args:
      history: records that hold "step", by split, in any order: "train" and what was evaluated.
      gates: each layer's, in [0, 1]; images whose gates are not all finite are left out.
      reported: the head that the training accuracy is of.
    """
    train = history.get("train", ())
    split = "validation" if history.get("validation") else "test"
    scored, last = history.get(split, ()), 1.0
    for records in (train, scored):
        last = max([last, *(float(record["step"]) for record in records)])
    accuracies = {
        "training": _points(train, "accuracy", scale=100.0),
        f"{split} images": _points(scored, f"{reported}_accuracy", scale=100.0),
    }
    losses = {"training": _points(train, "loss"), f"{split} images": _points(scored, "loss")}
    branches = {name: _points(train, f"{name}_loss") for name in ("global", "local")}
    rate = {"": _points(train, "learning_rate")}
    norm = {"": _points(train, "gradient_norm")}
    drawings = [
        (f"Accuracy of the {reported} logits, %", accuracies, {"peak": 100.0}),
        ("Loss", losses, {}),
        ("Training loss of each branch", branches, {}),
        ("Learning rate", rate, {"floor": _ANY}),
        ("Norm of the gradient, before it is clipped", norm, {"floor": _ANY}),
    ]
    found = []
    for title, lines, axes in drawings:
        known = {name: points for name, points in lines.items() if points is not None}
        if known and not (lines is branches and len(known) < 2):
            found.append(curves(title, known, last=last, **axes))
    if gates is not None and (gates := gates[np.isfinite(gates).all(axis=1)]).size:
        title = "Gate of each layer: 1 counts its attention in full, 0 shuts it out"
        found.append(bars(title, gates.mean(axis=0), gates.std(axis=0)))
    return found


def _points(records: Records, key: str, *, scale: float = 1.0) -> Points | None:
    # NaN fails the comparison.
    known = {r["step"]: scale * r[key] for r in records if abs(r.get(key, math.nan)) < _LARGEST}
    if not known:
        return None
    steps = sorted(known)
    return np.array(steps, np.float64), np.array([known[step] for step in steps], np.float64)
