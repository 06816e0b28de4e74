"""What a prediction costs, counted by XLA on the compiled model's operations."""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.experiment.model import blank_params, build_model
from aftrans_jax.experiment.workdir import configured

_GROUPS = ("model.", "sacm.", "region.", "data.")  # of the keys that say what is computed


def gflop(settings: Mapping[str, Any], num_classes: int, head: str) -> float:
    """Returns the GFLOP of one image's forward pass, two for a product and its sum.

    The global logits need one pass and no crop; the others need both branches. XLA counts before
    it optimises, and a loop's body once, which is that of the labelling alone. NaN where XLA
    counts nothing.

    Args:
      settings: of a run, by key.
      num_classes: of its data.
      head: the logits that answer.
    """
    counted = {key: value for key, value in settings.items() if key.startswith(_GROUPS)}
    return _gflop(json.dumps(counted, sort_keys=True), num_classes, head == "global")


@functools.cache
def _gflop(settings: str, num_classes: int, is_global: bool) -> float:
    config = configured(json.loads(settings) | {"model.attention": "xla"})
    model = build_model(config, num_classes, jnp.dtype("float32"))
    side = image_sizes(config)["image_size"]

    @jax.jit
    def forward(params: dict, images: Array) -> Any:
        if is_global:
            return model.apply({"params": params}, images, method="predict")
        return model.apply({"params": params}, images, train=False)

    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    analysis = forward.lower(blank_params(config, model), images).cost_analysis()
    return float(analysis["flops"]) / 1e9 if analysis else math.nan
