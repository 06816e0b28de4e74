"""What a configuration leaves open, set: to the weights, and to the number of images."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from aftrans_jax.config import Config
from aftrans_jax.experiment.model import MODELS
from aftrans_jax.experiment.weights_checks import ImageSizes, check_variant, image_sizes
from aftrans_jax.key_groups import LEFT_TO_DATA, LEFT_TO_WEIGHTS, is_left
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.weights.fitting import sizes
from aftrans_jax.weights.origins import OFFICIAL, Origin
from aftrans_jax.weights.reading import open_weights
from aftrans_jax.weights.whole_models import WholeModel

_OF_ORIGIN = frozenset(("model.gelu", "data.mean", "data.std"))


class _Facts(NamedTuple):
    """Of a file of weights, or of none: variant, sides of its images if known, and origin.

    `whole` is the trained model in it, None where there is only a trunk.
    """

    variant: str
    size: ImageSizes
    origin: Origin
    whole: WholeModel | None = None


def resolve_auto(
    config: Config, recorded: Mapping[str, Any] = MappingProxyType({})
) -> tuple[Config, tuple[str, ...]]:
    """Returns a configuration with the keys that are left to the weights set, locked.

    With them comes a line that says their values and how GELU and pixel values are known, none
    where nothing is left, and another where images are smaller than those the file was trained on.
    Without a record they are the file's: the variant of its shapes, the size of its
    `weights_checks.image_sizes`, the GELU and pixel values of its origin; without a file the
    official ViT-B/16's. The stride is a patch, and a crop is cut from photos of twice its size; a
    whole trained model has a stride and sizes of crops and photos of its own. With a record they
    are as recorded, so that a run goes on without the file of its weights.

    Args:
      config: not changed.
      recorded: settings by key of the run that is gone on with, empty for a new one.

    Raises:
      FileNotFoundError, ValueError: the file of weights is absent, cannot be read or is of another
        variant.
    """
    left = [key for key in LEFT_TO_WEIGHTS if is_left(key, config[key])]
    if not left:
        return config, ()
    result = copy.deepcopy(config)
    facts = None if recorded else _facts(config.pretrained, _given(config, "model.variant"))
    found = recorded if facts is None else _found(config, facts)
    for key in left:
        group, name = key.split(".")
        result[group][name] = tuple(found[key]) if isinstance(found[key], list) else found[key]
    listed = ", ".join(f"{key}={_text(result[key])}" for key in left)
    if facts is None:
        return result, ()
    source = Path(config.pretrained).name or "without weights"
    told = config.pretrained and set(left) & _OF_ORIGIN
    line = f"{source}: {listed}{f' ({facts.origin.reason})' if told else ''}"
    trained, default = facts.size
    if not (trained and default) or trained == default or "data.image_size" not in left:
        return result, (line,)
    return result, (
        line,
        f"{source}: its positions are of {trained} px, {(trained / default) ** 2:.1f} times the "
        f"patches: they are resized to {default} px; --config.data.image_size={trained} keeps them",
    )


def with_steps(config: Config, num_images: int) -> Config:
    """Returns a configuration with the steps of its epochs, warm-up and evaluations set, locked.

    Args:
      config: not changed.
      num_images: in the training split.
    """
    if not any(is_left(key, config[key]) for key in LEFT_TO_DATA):
        return config
    result = copy.deepcopy(config)
    train = result.train
    train.steps = train.steps or math.ceil(train.epochs * num_images / train.batch_size)
    if is_left("train.warmup_steps", train.warmup_steps):
        train.warmup_steps = train.steps // 20  # as the paper's 500 of 10,000
    result.eval.every = result.eval.every or max(1, math.ceil(num_images / train.batch_size))
    return result


def _found(config: Config, facts: _Facts) -> dict[str, Any]:
    """Returns values by key."""
    stride = VARIANTS[facts.variant].patch_size
    size = facts.size.default or 224
    local_size = size
    source_size = 2 * size
    if (whole := facts.whole) is not None:
        stride = whole.stride
        local_size = whole.local_size
        source_size = whole.source_size
    image_size = _given(config, "data.image_size") or size
    crops = config.model.name in MODELS and MODELS[config.model.name].crops
    return {
        "model.variant": facts.variant,
        "model.stride": stride,
        "model.gelu": facts.origin.gelu,
        "data.image_size": size,
        "data.source_size": max(image_size, source_size) if crops else image_size,
        "data.local_size": local_size,
        "data.mean": facts.origin.mean,
        "data.std": facts.origin.std,
    }


def _facts(path: str, variant: str | None) -> _Facts:
    """Returns the facts of a file or of none, whose variant is the given one if there is one."""
    if variant not in (None, *VARIANTS):
        raise ValueError(
            f"model.variant={variant!r} is unknown: choose one of auto, {', '.join(VARIANTS)}"
        )
    if not path:
        return _Facts(variant or "b16", ImageSizes(None, None), OFFICIAL)
    with open_weights(path) as weights:
        found = sizes(weights.arrays)
        variant = variant or next((name for name in VARIANTS if VARIANTS[name] == found), "b16")
        # First: sizes of another variant's file would be reported as not fitting this one's.
        check_variant(variant, weights.arrays)
        return _Facts(variant, image_sizes(weights), weights.origin, weights.whole)


def _given(config: Config, key: str) -> Any:
    """Returns the value of a key, None where it is left."""
    value = config[key]
    return None if is_left(key, value) else value


def _text(value: Any) -> str:
    return str(value).replace(" ", "")
