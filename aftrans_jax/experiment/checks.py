"""Checks of a configuration, before anything is built from it."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from flax.traverse_util import flatten_dict

from aftrans_jax.config import Config
from aftrans_jax.data.loading.sampling import SAMPLINGS
from aftrans_jax.data.loading.transforms import CROPS
from aftrans_jax.experiment.batches import AUGMENTS
from aftrans_jax.experiment.data import READERS, reader_name
from aftrans_jax.experiment.model import ANNOTATED, MODELS, predicting_head
from aftrans_jax.experiment.recipe import CLASS_WEIGHTS, check_recipe
from aftrans_jax.key_groups import is_left
from aftrans_jax.model.attention import KERNELS, check_kernel
from aftrans_jax.model.class_row import DESCRIPTORS
from aftrans_jax.model.encoder import REMATS
from aftrans_jax.model.heads import HEADS
from aftrans_jax.model.regions import REGION_METHODS
from aftrans_jax.model.resize import RESAMPLES
from aftrans_jax.model.sacm import GATES, HEAD_FUSIONS, SELECTIONS
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import GELUS
from aftrans_jax.training.mixing import MIXINGS
from aftrans_jax.training.optimizer import OPTIMIZERS, check_warmup
from aftrans_jax.training.parameter_groups import trainable
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.sharding import STRATEGIES

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pretrained_head": ("new", "keep"),
        "model.name": tuple(MODELS),
        "model.variant": tuple(VARIANTS),
        "model.gelu": tuple(GELUS),
        "model.attention": tuple(KERNELS),
        "model.remat": tuple(REMATS),
        "data.name": tuple(READERS),
        "data.on_error": ("raise", "skip"),
        "data.cache": ("none", "ram"),
        "data.crop": tuple(CROPS),
        "data.augment": tuple(AUGMENTS),
        "data.mixing": tuple(MIXINGS),
        "data.sampling": tuple(SAMPLINGS),
        "sacm.head_fusion": tuple(HEAD_FUSIONS),
        "sacm.descriptor": tuple(DESCRIPTORS),
        "sacm.selection": tuple(SELECTIONS),
        "sacm.gate": tuple(GATES),
        "region.method": (*REGION_METHODS, ANNOTATED),
        "region.resample": tuple(RESAMPLES),
        "loss.class_weights": tuple(CLASS_WEIGHTS),
        "train.optimizer": tuple(OPTIMIZERS),
        "train.precision": tuple(PRECISIONS),
        "train.sharding": tuple(STRATEGIES),
        "eval.logits": ("auto", *HEADS),
    }
)

# What a number must be; of a key without a range, from 0 up. NaN, which compares false with
# everything, is in none.
_Range = tuple[str, Callable[[float], bool]]
_FROM_0: _Range = ("be at least 0 and finite", lambda x: 0 <= x < math.inf)
_POSITIVE: _Range = ("be above 0 and finite", lambda x: 0 < x < math.inf)
_RATE: _Range = ("lie in [0, 1)", lambda x: 0 <= x < 1)
_SHARE: _Range = ("lie in (0, 1]", lambda x: 0 < x <= 1)
_RANGES: Mapping[str, _Range] = MappingProxyType(
    {
        **dict.fromkeys(("train.batch_size", "train.accumulation_steps"), _POSITIVE),
        **dict.fromkeys(("train.learning_rate", "train.clip_norm"), _POSITIVE),
        **dict.fromkeys(("train.report_every", "train.save_every"), _POSITIVE),
        **dict.fromkeys(("eval.batch_size", "sacm.reduction", "data.max_pixels"), _POSITIVE),
        **dict.fromkeys(("data.num_train", "data.num_test", "data.mixing_strength"), _POSITIVE),
        **dict.fromkeys(("data.validation_fraction", "data.erasing"), _RATE),
        **dict.fromkeys(("loss.label_smoothing", "train.momentum", "train.ema"), _RATE),
        **dict.fromkeys(("model.dropout", "model.stochastic_depth"), _RATE),
        **dict.fromkeys(("sacm.keep_ratio", "train.layer_decay"), _SHARE),
        **dict.fromkeys(
            ("data.image_size", "data.source_size", "data.local_size"),
            ("lie in [1, 8192], pixels", lambda x: 1 <= x <= 8192),
        ),
        "data.num_threads": (
            "lie in [0, 1024]: threads, as many as cores",
            lambda x: 0 <= x <= 1024,
        ),
        "data.test_fraction": ("lie in (0, 1), such as 0.2", lambda x: 0 < x < 1),
        "data.resize_ratio": (  # at most a square of 4,480 px an image, from 448
            "lie in [1, 10]: images are resized to ratio x data.source_size and cropped from there",
            lambda x: 1 <= x <= 10,
        ),
        "eval.resize_ratio": (
            "be 0, for data.resize_ratio, or lie in [1, 10]: 1 reads whole images",
            lambda x: x == 0 or 1 <= x <= 10,
        ),
    }
)


def check_values(config: Config) -> None:
    """Checks names and ranges, each for itself, also where keys are still left to the weights.

    Raises:
      ValueError: names the key, its value and what was expected.
    """
    for key, choices in CHOICES.items():
        value = config[key]
        name = reader_name(value) if key == "data.name" else value
        if name not in choices and not is_left(key, value):
            raise ValueError(f"{key}={value!r} is unknown: choose one of {', '.join(choices)}")
    _check_ranges(config)


def check_one_length(config: Config) -> None:
    """Checks that a training has steps or epochs, not both.

    Raises:
      ValueError: both are above 0.
    """
    steps = config.train.steps
    epochs = config.train.epochs
    if steps and epochs:
        raise ValueError(
            f"train.steps={steps} and train.epochs={epochs}: expected one of them, and 0 for the "
            "other: to train by epochs set config.train.steps = 0 (on a command line add "
            "--config.train.steps=0), to train by steps config.train.epochs = 0"
        )


def check(config: Config, *, num_devices: int, trains: bool = True) -> None:
    """Checks names, ranges and values that must go together.

    Args:
      config: the run's configuration, nothing left to the weights.
      num_devices: that a batch is split over.
      trains: False for an evaluation.

    Raises:
      ValueError: names the key, its value, what was expected and what to do.
    """
    check_values(config)
    dtype = PRECISIONS[config.train.precision]().dtype
    check_kernel(config.model.attention, dtype)
    if config.data.supercategory and config.data.name != "inat17":
        raise ValueError(
            f"data.supercategory={config.data.supercategory!r}: data.name={config.data.name!r} has "
            "none; leave it empty, or use --config.data.name=inat17"
        )
    if predicting_head(config) not in MODELS[config.model.name].heads:
        raise ValueError(
            f"eval.logits={config.eval.logits!r}: model.name={config.model.name!r} has global "
            "logits only; use --config.eval.logits=auto"
        )
    if config.region.method == ANNOTATED and config.model.name != "aftrans":
        raise ValueError(
            f"region.method={ANNOTATED!r} is for model.name='aftrans'; this run's is "
            f"{config.model.name!r}: leave it out"
        )
    if trains and config.region.method == ANNOTATED:
        raise ValueError(
            f"region.method={ANNOTATED!r} is for evaluation alone: train with another one, then "
            f"evaluate with --mode=eval --workdir=... --config.region.method={ANNOTATED}"
        )
    _check_trunk(config)
    if config.loss.distill and not MODELS[config.model.name].crops:
        raise ValueError(
            f"loss.distill={config.loss.distill}: model.name={config.model.name!r} has no local "
            "branch to teach the global one; use --config.loss.distill=0, or "
            "--config.model.name=aftrans"
        )
    microbatches = num_devices * config.train.accumulation_steps
    if config.train.batch_size % microbatches:
        nearest = max(1, round(config.train.batch_size / microbatches)) * microbatches
        raise ValueError(
            f"train.batch_size={config.train.batch_size} cannot be split over {num_devices} "
            f"devices, in train.accumulation_steps={config.train.accumulation_steps} parts each: "
            f"use --config.train.batch_size={nearest}, or another multiple of {microbatches}; or, "
            "since a run keeps its batch, devices that divide it"
        )
    if trains:
        check_recipe(config, num_devices)
    _check_geometry(config)


def _check_ranges(config: Config) -> None:
    train = config.train
    if not is_left("train.warmup_steps", train.warmup_steps):
        check_warmup(train.warmup_steps, train.steps)
    for key, value in flatten_dict(config.to_dict(), sep=".").items():
        said, holds = _RANGES.get(key, _FROM_0)
        if isinstance(value, int | float) and not (is_left(key, value) or holds(value)):
            raise ValueError(f"{key}={value} must {said}")
    if not (train.steps or train.epochs):
        raise ValueError("train.steps=0 must be above 0; or train by --config.train.epochs=20")
    if config.seed >= 2**32:
        raise ValueError(
            f"seed={config.seed} must be below 2^32 = {2**32}: of a larger one, jax.random draws "
            f"what seed={config.seed % 2**32} does"
        )


def _check_trunk(config: Config) -> None:
    """Checks what depends on the variant, and the pixel values of its weights."""
    trainable(config.train.trainable, VARIANTS[config.model.variant].layers)
    numbers = tuple(config.sacm.layers)
    last = VARIANTS[config.model.variant].layers
    if len({*numbers} & {*range(1, last + 1)}) < len(numbers):
        raise ValueError(
            f"sacm.layers={numbers} must be numbers from 1 to {last}, the layers of "
            f"model.variant={config.model.variant!r}, each at most once; such as "
            f"--config.sacm.layers='({last},)', or '()' for all layers"
        )
    for key, least in (("mean", -1), ("std", 1e-6)):
        value = config.data[key]
        fits = (isinstance(number, int | float) and least <= number <= 1 for number in value)
        if len(value) != 3 or not all(fits):
            raise ValueError(
                f"data.{key}={value} must be three numbers from {least} to 1, one a channel of "
                f"pixels in [0, 1]; for example --config.data.{key}='(0.5,0.5,0.5)'"
            )


def _check_geometry(config: Config) -> None:
    """Checks how patches, images, crops and boxes fit together.

    A box ends on a patch's last pixel, so the patches must reach the image's edge.
    """
    variant = VARIANTS[config.model.variant]
    size = config.data.image_size
    stride = config.model.stride
    patches = variant.patches_per_side(size, stride)
    covered = stride * (patches - 1) + variant.patch_size
    if covered != size:
        raise ValueError(
            f"data.image_size={size} does not fit model.stride={stride}: {patches} patches of "
            f"{variant.patch_size} px cover {covered} px; use {covered} or {covered + stride}, "
            "or another stride"
        )
    if config.data.source_size < size:
        raise ValueError(
            f"data.source_size={config.data.source_size} is below data.image_size={size}: the "
            "global branch sees the source shrunk, never enlarged; raise it, or lower "
            "data.image_size"
        )
    if config.data.local_size < variant.patch_size:
        raise ValueError(
            f"data.local_size={config.data.local_size} is smaller than one patch of "
            f"{variant.patch_size} px: raise it, or use a model.variant with smaller patches"
        )
    min_box = config.region.min_box
    if MODELS[config.model.name].crops and min_box > size:
        raise ValueError(
            f"region.min_box={min_box} is above data.image_size={size}: every box would be too "
            "small, and every crop the whole photo; use two patches, --config.region.min_box="
            f"{min(2 * variant.patch_size, size)}"
        )
