"""The charts of a training: its records over steps, and its gates."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from aftrans_jax.report.charts import bars
from aftrans_jax.report.drawing import Plot
from aftrans_jax.report.plots import Records, curves, points_of

_ANY = 1e-12  # lower end of an axis for values that may be tiny


def training_charts(
    history: Mapping[str, Records],
    gates: Float[np.ndarray, "images layers"] | None,
    reported: str,
) -> list[Plot]:
    """Returns charts of the records over steps, and of the gates, where values are finite.

    All curves have the same x axis; accuracies have axes from 0 to 100 %, shared by those of
    training and of the split evaluated during training.

    Args:
      history: records with "step" by split, in any order: "train" and the evaluated split.
      gates: gates of each layer, in [0, 1]; images whose gates are not all finite are left out.
      reported: head whose accuracy is recorded in training.
    """
    train = history.get("train", ())
    split = "validation" if history.get("validation") else "test"
    scored = history.get(split, ())
    last = 1.0
    for records in (train, scored):
        last = max([last, *(float(record["step"]) for record in records)])
    accuracies = {
        "training": points_of(train, "accuracy", scale=100.0),
        f"{split} images": points_of(scored, f"{reported}_accuracy", scale=100.0),
    }
    losses = {"training": points_of(train, "loss"), f"{split} images": points_of(scored, "loss")}
    branches = {name: points_of(train, f"{name}_loss") for name in ("global", "local")}
    rate = {"": points_of(train, "learning_rate")}
    norm = {"": points_of(train, "gradient_norm")}
    drawings = [
        (f"Accuracy of the {reported} logits, %", accuracies, {"peak": 100.0}),
        ("Loss", losses, {}),
        ("Training loss of each branch", branches, {}),
        ("Learning rate", rate, {"least": _ANY}),
        ("Norm of the gradient, before it is clipped", norm, {"least": _ANY}),
    ]
    charts = []
    for title, lines, axes in drawings:
        recorded = {name: points for name, points in lines.items() if points is not None}
        if recorded and not (lines is branches and len(recorded) < 2):
            names = dict(enumerate(recorded))
            numbered = dict(enumerate(recorded.values()))
            charts.append(curves(title, numbered, names=names, last=last, **axes))
    if gates is not None and (gates := gates[np.isfinite(gates).all(axis=1)]).size:
        title = "Gate of each layer: 1 counts its attention in full, 0 shuts it out"
        charts.append(bars(title, gates.mean(axis=0), gates.std(axis=0)))
    return charts
