"""The recipe that a configuration gives for batches and labels; one function for each name."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from aftrans_jax.config import Config
from aftrans_jax.experiment.model import MODELS, loss_weights
from aftrans_jax.training.erasing import erase
from aftrans_jax.training.losses import CrossEntropy, label_losses, target_losses
from aftrans_jax.training.mixing import MIXINGS, mix
from aftrans_jax.training.preparation import Prepare, chain, smooth_targets, with_targets

_BETA = 0.999

Counts = Float[np.ndarray, " classes"]  # number of examples of each class


def _effective(counts: Counts) -> Counts:
    """Returns (1 - beta) / (1 - beta^n) with beta 0.999: 1/n for few examples, 0.001 for thousands.

    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, eq. 4.
    """
    return (1 - _BETA) / (1 - _BETA**counts)


CLASS_WEIGHTS: Mapping[str, Callable[[Counts], Counts]] = MappingProxyType(
    {"none": np.ones_like, "inverse": np.reciprocal, "effective": _effective}
)


Labels = Sequence[int] | Int[np.ndarray, " examples"]


def class_weights(name: str, labels: Labels, num_classes: int) -> Float[np.ndarray, " classes"]:
    """Returns the weight of an example of each class, float32; the mean over examples is 1.

    Args:
      name: one of `CLASS_WEIGHTS`.
      labels: labels of the training split. A class without examples has the weight 0.
      num_classes: number of classes of the head.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=num_classes).astype(np.float64)
    weights = np.zeros(num_classes)
    present = counts > 0
    weights[present] = CLASS_WEIGHTS[name](counts[present])
    total = max(counts @ weights, np.finfo(np.float64).tiny)  # an evaluation has no examples
    return (weights * counts.sum() / total).astype(np.float32)


class Recipe(NamedTuple):
    """The preparation of a step's rows, and the cross-entropy to the labels that it gives.

    `max_class_weight` is the largest class weight.
    """

    prepare: Prepare
    cross_entropy: CrossEntropy
    max_class_weight: float


def build_recipe(config: Config, labels: Callable[[], Labels], num_classes: int) -> Recipe:
    """Returns the configured recipe.

    The order is erasing, mixing, smoothing, as in timm. Where labels do not change, neither does
    the cross-entropy.

    Args:
      config: configuration of the run.
      labels: returns the labels of the training split; called only if needed, as it may be slow.
      num_classes: number of classes of the head.
    """
    data = config.data
    loss = config.loss
    is_mixed = data.mixing != "none"
    is_weighted = loss.class_weights != "none"
    is_soft = is_mixed or is_weighted or loss.label_smoothing > 0
    listed = labels() if is_weighted else range(num_classes)
    weights = class_weights(loss.class_weights, listed, num_classes)
    mixing = partial(mix, shares=MIXINGS[data.mixing], strength=data.mixing_strength)
    parts: dict[Prepare, bool] = {  # in their order, and whether they are used
        partial(erase, probability=data.erasing, fill=_mean_colour(config)): data.erasing > 0,
        partial(with_targets, class_weights=weights): is_soft,
        mixing: is_mixed,
        partial(smooth_targets, smoothing=loss.label_smoothing): loss.label_smoothing > 0,
    }
    prepare = chain([part for part, is_wanted in parts.items() if is_wanted])
    return Recipe(prepare, target_losses if is_soft else label_losses, float(weights.max()))


def check_recipe(config: Config, num_devices: int) -> None:
    """Raises a ValueError where parts of a recipe do not go together.

    Args:
      config: configuration of a training.
      num_devices: number of devices that a batch is split over.
    """
    weights = loss_weights(config)
    branches = [name for name in MODELS[config.model.name].heads if name in weights]
    if not sum(weights[name] for name in branches):
        keys = " + ".join({"global": "loss.alpha", "local": "loss.beta"}[x] for x in branches)
        raise ValueError(
            f"{keys} = 0: model.name={config.model.name!r} would learn no classes; set "
            "--config.loss.alpha=1"
        )
    num_rows = config.train.batch_size // num_devices
    mixing = config.data.mixing
    contrastive = config.loss.contrastive
    if contrastive and num_rows // config.train.accumulation_steps < 2:
        raise ValueError(
            f"loss.contrastive={contrastive}: a device takes the {config.train.batch_size} images "
            "of a batch one by one, and compares none with another; raise train.batch_size, or "
            f"lower train.accumulation_steps={config.train.accumulation_steps}, to two at a time"
        )
    if mixing != "none" and contrastive:
        raise ValueError(
            f"data.mixing={mixing!r} with loss.contrastive={contrastive}: a mixed image has two "
            "classes, so a pair of them is of no one class; use --config.data.mixing=none or "
            "--config.loss.contrastive=0"
        )
    if mixing != "none" and num_rows < 2:
        raise ValueError(
            f"data.mixing={mixing!r}: a device has {num_rows} of the {config.train.batch_size} "
            "images of a batch, and none to mix it with; raise train.batch_size to two a device "
            "or more, or use --config.data.mixing=none"
        )
    if config.data.sampling == "balanced" and config.loss.class_weights != "none":
        raise ValueError(
            f"loss.class_weights={config.loss.class_weights!r} with data.sampling='balanced': "
            "rare classes would count twice over; use --config.loss.class_weights=none or "
            "--config.data.sampling=shuffle"
        )


def check_evaluations(config: Config, *, has_validation: bool) -> tuple[str, ...]:
    """Returns a note where held-out images choose no checkpoint, as only the last one is evaluated.

    Args:
      config: configuration of a training, its steps known.
      has_validation: whether images are held out.

    Raises:
      ValueError: the training is to stop early and cannot: no images are held out, or it ends
        before enough evaluations.
    """
    patience = config.train.patience
    every = config.eval.every
    steps = config.train.steps
    if patience and not has_validation:
        raise ValueError(
            f"train.patience={patience} stops by the accuracy on held-out images, and there are "
            "none: set --config.data.validation_fraction=0.1, or give the data a val/ split; or "
            "--config.train.patience=0"
        )
    if patience and steps <= (patience + 1) * every:  # the first one always improves
        lower = (steps - 1) // (patience + 1)
        remedy = f"use --config.eval.every={lower} or less" if lower else "train longer"
        raise ValueError(
            f"train.patience={patience} cannot stop a training of {steps} steps that is evaluated "
            f"every eval.every={every}: {remedy}, or --config.train.patience=0"
        )
    if has_validation and steps <= every:
        return (
            f"note: the validation images choose no checkpoint, since eval.every={every} of "
            f"{steps} steps evaluates the end alone: --config.eval.every={max(1, steps // 10)} "
            "gives more to choose from",
        )
    return ()


def _mean_colour(config: Config) -> UInt8[np.ndarray, "3"]:
    return np.round(255 * np.asarray(config.data.mean, np.float64)).clip(0, 255).astype(np.uint8)
