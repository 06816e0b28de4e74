"""Keys by what another value of them means; one in no group defines the training.

An entry that ends in a dot stands for all keys that begin so.
"""

from collections.abc import Sequence
from typing import Any

# Left open by the values that `is_left` knows, for `experiment.auto_settings` to set them: to the
# weights, or to the number of training images.
LEFT_TO_WEIGHTS = (
    "model.variant",
    "model.stride",
    "model.gelu",
    "data.image_size",
    "data.source_size",
    "data.local_size",
    "data.mean",
    "data.std",
)
LEFT_TO_DATA = ("train.steps", "train.warmup_steps", "eval.every")

# Never change a result, and so are not in the name of a run's directory.
NO_EFFECT = (
    "train.report_every",
    "train.save_every",
    "train.profile",
    "eval.batch_size",
    "report.",
    "data.num_threads",
    "data.cache",
    "data.max_pixels",
    "data.on_error",
)
# Go into the record of a finished run: where its data lie now, and its length, where a longer
# training was begun and given up before its first save.
KEPT = ("data.dir", "train.steps", "train.epochs")
# May change when a run goes on, its length under conditions.
RESUMABLE = (
    *NO_EFFECT,
    *KEPT,
    "eval.",
    "train.accumulation_steps",
    "train.precision",
    "train.sharding",
    "model.attention",
    "model.remat",
)

# What an evaluation sees of an image: accuracies that differ in it are not comparable.
EVAL_VIEWS = ("eval.mirror", "eval.resize_ratio")
# May change in a run's directory and change its answers: runs that differ in them have no mean.
ANSWERS = (*EVAL_VIEWS, "train.precision")
# The same where images are held out, since the best of what is evaluated is reported.
HELD_OUT_ANSWERS = (*ANSWERS, "eval.every")
# May change in an evaluation, to score another labelled set.
OTHER_SET = ("data.dir", "data.name", "data.supercategory", "data.num_test")
# How images are evaluated, and which are tested: an evaluation refuses other values.
EVALUATED = (
    "model.",
    "sacm.",
    "region.",
    "data.image_size",
    "data.source_size",
    "data.local_size",
    "data.resize_ratio",
    "data.mean",
    "data.std",
    "data.test_fraction",
    "data.validation_fraction",
    "data.split_seed",
)

# Each host may have its own: where files are, and how they are read.
OWN_TO_HOST = ("pretrained", "data.dir", "data.num_threads", "data.cache")
# Not read by a plain ViT, or with values that follow from having no crops.
NOT_OF_VIT = (
    "sacm.",
    "region.",
    "loss.beta",
    "loss.distill",
    "loss.contrastive",
    "data.source_size",
    "data.local_size",
)
# Not read by a probe, which trains nothing.
NOT_OF_PROBE = ("train.", "loss.", "eval.every", *NO_EFFECT)


def is_listed(key: str, group: Sequence[str]) -> bool:
    """Returns whether a key, or all that begin as it does, are in a group such as `RESUMABLE`."""
    return key in group or f"{key.partition('.')[0]}." in group


def is_left(key: str, value: Any) -> bool:
    """Returns whether a key has the value that leaves it open; lists are tuples."""
    if key in LEFT_TO_DATA:
        return value == (-1 if key == "train.warmup_steps" else 0)
    return key in LEFT_TO_WEIGHTS and value in ("auto", 0, (), [])
