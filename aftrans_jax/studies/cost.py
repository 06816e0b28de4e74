"""The cost of a prediction, counted as in training's utilisation."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.experiment.model import blank_params, build_model
from aftrans_jax.settings import configured
from aftrans_jax.training.utilisation import forward_flops

_GROUPS = ("model.", "sacm.", "region.", "data.")  # of the keys that decide what is computed


def gflop(settings: Mapping[str, Any], num_classes: int, head: str) -> float:
    """Returns the GFLOP of one image's prediction, see `training.utilisation.forward_flops`.

    The global logits need one forward pass and no crop; the others need both branches. With
    `eval.mirror` the mirror image doubles the cost.

    Args:
      settings: settings of a run, by key.
      num_classes: number of classes of its data.
      head: logits that predict.
    """
    counted = {key: value for key, value in settings.items() if key.startswith(_GROUPS)}
    once = _gflop(json.dumps(counted, sort_keys=True), num_classes, head == "global")
    return 2 * once if settings["eval.mirror"] else once


@functools.cache
def _gflop(settings: str, num_classes: int, only_global: bool) -> float:
    config = configured(json.loads(settings) | {"model.attention": "xla"})
    model = build_model(config, num_classes, jnp.dtype("float32"))
    side = image_sizes(config)["image_size"]
    return forward_flops(model, blank_params(config, model), side, only_global=only_global) / 1e9
