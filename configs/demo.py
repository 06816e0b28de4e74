"""The built-in birds from the built-in weights.

    bash launch/demo.sh

Hardware: two CPU cores, two to three minutes. Results: docs/studies.md.
"""

import importlib.resources

from aftrans_jax.config import Config, base_config


def get_config() -> Config:
    """Returns a run of minutes on two CPU cores.

    Small crops are not shrunk: at 32 px the local branch could not see the marks.
    """
    config = base_config()
    config.pretrained = str(importlib.resources.files("aftrans_jax") / "assets" / "mini8.npz")
    config.model.variant = "mini8"
    config.model.stride = 8
    config.data.name = "synthetic"
    config.data.image_size = config.data.source_size = 64
    config.data.local_size = 64
    config.sacm.reduction = 2  # six layers leave three hidden units
    config.region.min_box = 16
    config.train.steps = 400
    config.train.batch_size = 24
    config.train.learning_rate = 0.02
    config.train.warmup_steps = 40
    config.train.save_every = 200
    config.eval.batch_size = 100
    config.eval.logits = "sum"  # wins on these drawings; on photos the local logits do
    return config
