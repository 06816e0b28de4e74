"""Predictions of a trained model: which logits answer, and how right they were on the test set."""

from collections.abc import Callable
from typing import cast

import jax
import numpy as np
from jaxtyping import Array, Float

from aftrans_jax.experiment.model import MODELS
from aftrans_jax.experiment.trained import Trained
from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.training.metrics import prediction_logits

_NAMES = {
    "global": "global logits",
    "local": "local logits",
    "sum": "sum of global and local logits",
}

Predictor = Callable[[Images], Float[np.ndarray, "batch classes"]]


def predictor(trained: Trained, logits: str) -> Predictor:
    """Returns a function of a batch of prepared images to the probabilities of the classes.

    Args:
      trained: the model and its parameters.
      logits: "global", which needs no crop and no second pass, "local" or "sum".

    Raises:
      ValueError: the model has no such logits.

    Paper: end of section 2.2.2, table 4.
    """
    model = trained.model
    if logits not in MODELS[trained.name].logits:
        raise ValueError(
            f"--logits={logits}: the run's model.name is {trained.name!r}, which has global logits "
            "only; use --logits=global"
        )

    @jax.jit
    def probabilities(params: dict, images: Array) -> Array:
        if logits == "global":
            chosen = cast(Array, model.apply({"params": params}, images, method="predict"))
        else:
            output = cast(ModelOutput, model.apply({"params": params}, images, train=False))
            chosen = prediction_logits(output.logits)[logits]
        return jax.nn.softmax(chosen)

    params = jax.device_put(trained.params)
    return lambda images: np.asarray(probabilities(params, images))


def heading(trained: Trained, logits: str) -> str:
    """Returns which logits answer, with their accuracy where result.json has it."""
    accuracy = trained.result.get(f"{logits}_accuracy")
    number, step = (trained.result.get(name) for name in ("num_test", "step"))
    if not isinstance(accuracy, int | float):
        return f"{_NAMES[logits]}: the accuracy is not known, result.json does not tell it"
    return f"{_NAMES[logits]}: {accuracy:.1%} on {number} test images at step {step}"
