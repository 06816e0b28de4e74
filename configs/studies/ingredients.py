"""What each part of today's recipes does by itself, by photos held out of the training split.

    python -m aftrans_jax.study --study=configs/studies/ingredients.py --workdir=studies/parts \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

Read the columns of the validation; those of the test say what a choice was worth.
"""

from collections.abc import Mapping
from typing import Any

from aftrans_jax.configs.studies.choices import get_config
from aftrans_jax.configs.studies.small import CROPS
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum", "global")
_ADAMW: Mapping[str, Any] = {"train.optimizer": "adamw", "train.learning_rate": 1e-4}
_ROWS: Mapping[str, Mapping[str, Any]] = {
    "SGD": {},
    "SGD, rate 0.02": {"train.learning_rate": 0.02},
    "SGD, rate 0.005": {"train.learning_rate": 0.005},
    "AdamW": _ADAMW,
    "AdamW, rate 3e-4": {**_ADAMW, "train.learning_rate": 3e-4},
    "AdamW, rate 3e-5": {**_ADAMW, "train.learning_rate": 3e-5},
    "AdamW, weight decay 0.05": {**_ADAMW, "train.weight_decay": 0.05},
    "AdamW, layer decay 0.75": {**_ADAMW, "train.layer_decay": 0.75},
    "AdamW, rate 3e-4, layer decay 0.75": {
        **_ADAMW,
        "train.learning_rate": 3e-4,
        "train.layer_decay": 0.75,
    },
    "AdamW, rate 1e-3, layer decay 0.75": {
        **_ADAMW,
        "train.learning_rate": 1e-3,
        "train.layer_decay": 0.75,
    },
    "LAMB": {"train.optimizer": "lamb", "train.learning_rate": 3e-3},
    "LAMB, rate 1e-3": {"train.optimizer": "lamb", "train.learning_rate": 1e-3},
    "layer decay 0.75": {"train.layer_decay": 0.75},
    "label smoothing 0.1": {"loss.label_smoothing": 0.1},
    "mixup": {"data.mixing": "mixup"},
    "CutMix": {"data.mixing": "cutmix"},
    "random erasing": {"data.erasing": 0.25},
    "RandAugment": {"data.augment": "randaugment"},
    "random crops": CROPS,
    "random resized crops": {"data.crop": "resized"},
    "stochastic depth 0.1": {"model.stochastic_depth": 0.1},
    "moving average 0.95": {"train.ema": 0.95},
    "last 6 blocks": {"train.trainable": "last:6"},
    "last 6 blocks, label smoothing 0.1": {
        "train.trainable": "last:6",
        "loss.label_smoothing": 0.1,
    },
    "norms": {"train.trainable": "norms"},
    "head": {"train.trainable": "head"},
    "mirrored too": {"eval.mirror": True},
}


def get_study() -> Study:
    """Returns a row for each part."""
    rows = {name: Row(changes, _HEADS) for name, changes in _ROWS.items()}
    return Study(title="Parts of today's recipes", base="SGD", rows=rows)
