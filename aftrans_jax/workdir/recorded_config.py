"""The configuration that a directory records, used for `--config` where it is not given."""

import math
from pathlib import Path

from aftrans_jax.config import Config
from aftrans_jax.settings import configured
from aftrans_jax.workdir.record import holds_run, read_settings


def get_config(workdir: str) -> Config:
    """Returns the configuration of the run in a directory.

    Where nothing is trained yet, steps, warm-up and evaluations that follow from the recorded
    epochs are left open, since the images or the batch may be others now.

    Raises:
      FileNotFoundError: no run was started there.
      DamagedRecordError: the record cannot be used.
    """
    settings = read_settings(Path(workdir))
    if settings is None:
        raise FileNotFoundError(
            f"{workdir} has no config.json: expected the --workdir of a run, or --config=FILE to "
            "start one there"
        )
    config = configured(settings)
    train = config.train
    if train.steps and train.epochs and not holds_run(Path(workdir)):
        if train.warmup_steps == train.steps // 20:
            train.warmup_steps = -1
        if config.eval.every == math.ceil(train.steps / train.epochs):
            config.eval.every = 0
        train.steps = 0
    return config
