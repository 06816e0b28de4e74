"""Whether today's recipes pay in a training four times as long, by photos held out of it.

    python -m aftrans_jax.study --study=configs/studies/longer.py --workdir=studies/longer \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

Read the columns of the validation; those of the test say what a choice was worth.
"""

from collections.abc import Mapping
from typing import Any

from aftrans_jax.config import Config
from aftrans_jax.configs.studies.choices import get_config as choices_config
from aftrans_jax.configs.studies.small import CROPS, VIT
from aftrans_jax.studies.definition import Row, Study

_HEADS = ("local", "sum", "global")
_ADAMW: Mapping[str, Any] = {
    "train.optimizer": "adamw",
    "train.learning_rate": 3e-4,
    "train.layer_decay": 0.75,
}
_FAST: Mapping[str, Any] = {**_ADAMW, "train.learning_rate": 1e-3}
# What a ViT is fine-tuned with on ImageNet: mixing, smoothing, RandAugment, erasing, an average.
_MODERN: Mapping[str, Any] = {
    **_FAST,
    "data.mixing": "both",
    "loss.label_smoothing": 0.1,
    "data.augment": "randaugment",
    "data.erasing": 0.25,
    "train.ema": 0.98,
}
_ROWS: Mapping[str, Mapping[str, Any]] = {
    "SGD": {},
    "SGD, random crops": CROPS,
    "SGD, resized crops": {"data.crop": "resized"},
    "SGD, RandAugment": {"data.augment": "randaugment"},
    "SGD, random erasing": {"data.erasing": 0.25},
    "SGD, mixup and CutMix": {"data.mixing": "both"},
    "SGD, label smoothing, moving average": {"loss.label_smoothing": 0.1, "train.ema": 0.98},
    "AdamW at 3e-4": _ADAMW,
    "AdamW at 1e-3": _FAST,
    "AdamW at 1e-3, RandAugment": {**_FAST, "data.augment": "randaugment"},
    "AdamW at 1e-3, all": _MODERN,
}


def get_config() -> Config:
    """Returns the choices' recipe with 360 steps."""
    config = choices_config()
    config.train.steps = 360
    config.train.warmup_steps = 40
    return config


def get_study() -> Study:
    """Returns AFTrans by each recipe, and the plain ViT by three of them."""
    rows = {name: Row(changes, _HEADS) for name, changes in _ROWS.items()}
    rows["ViT, SGD"] = Row(VIT)
    rows["ViT, SGD, random crops"] = Row(VIT | CROPS)
    rows["ViT, AdamW at 1e-3, all"] = Row({**VIT, **_MODERN})
    return Study(title="Today's recipes, 360 steps", base="SGD", rows=rows)
