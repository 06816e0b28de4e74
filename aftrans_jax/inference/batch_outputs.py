"""What a model gives for a batch: probabilities, and what is wanted of its region."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from aftrans_jax.experiment.model import Model
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.crops import crop_and_resize
from aftrans_jax.model.mirror import mirrored
from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.rams import RAMS
from aftrans_jax.training.metrics import prediction_logits


def batch_outputs(
    model: Model,
    head: str,
    wanted: Collection[str],
    params: Mapping[str, Any],
    images: Images,
    mirror: bool = False,
) -> dict[str, Any]:
    """Returns a model's probabilities for a batch, and what is wanted of its region.

    Args:
      model: the module.
      head: logits that predict: "global", "local" or "sum".
      wanted: names of what to return: "box", "relevance", "gates", "mask" and "rows", see
        `model.outputs.Region`, and "crop" [batch size size 3].
      params: parameters of the module.
      images: images as the model takes them, see `preprocessing.Prepared`.
      mirror: whether to average the logits of each image and its mirror image.

    Returns:
      Each name in `wanted`, None where the model has no such array, and "probabilities" [batch
      classes] by head: only the global ones, from one forward pass, where `head` is "global" and
      nothing is wanted.

    Paper: end of section 2.2.2, table 4.
    """
    passes = _global_pass if head == "global" and not wanted else _both_passes
    apply = partial(passes, model, params)
    output = (mirrored(apply) if mirror else apply)(images)
    probabilities = {
        name: jax.nn.softmax(x) for name, x in prediction_logits(output.logits).items()
    }
    outputs: dict[str, Any] = dict.fromkeys(wanted) | {"probabilities": probabilities}
    if (region := output.region) is None:
        return outputs
    of_region = region._asdict() | {"gates": region.gate, "crop": None}
    if "crop" in wanted and isinstance(model, AFTrans | RAMS):
        pixels = jnp.asarray(images, jnp.float32)
        crop = crop_and_resize(pixels, region.box, model.local_size, model.resample)
        of_region["crop"] = jnp.clip(jnp.round(crop), 0, 255).astype(jnp.uint8)
    return outputs | {name: of_region[name] for name in wanted}


def _global_pass(model: Model, params: Mapping[str, Any], images: Images) -> ModelOutput:
    logits = cast(Array, model.apply({"params": params}, images, method="global_logits"))
    return ModelOutput({"global": logits}, {}, None)


def _both_passes(model: Model, params: Mapping[str, Any], images: Images) -> ModelOutput:
    return cast(ModelOutput, model.apply({"params": params}, images, train=False))
