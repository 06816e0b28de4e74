"""What the recipe for your own photos is chosen by: photos held out of the training split.

    python -m aftrans_jax.study --study=configs/studies/own_photos.py --workdir=studies/own_photos \
        --config.data.dir=data/photos --config.pretrained=deit_tiny_patch16_224.npz

Read the columns of the validation; those of the test say what the choice was worth.
"""

from aftrans_jax.config import Config
from aftrans_jax.configs.folder import get_config as folder_config
from aftrans_jax.studies.definition import Row, Study

_HEADS = ("global", "local", "sum")


def get_config() -> Config:
    """Returns the recipe with a fifth of the training photos held out."""
    config = folder_config()
    config.pretrained = ""  # data set and weights are the command line's
    config.data.validation_fraction = 0.2
    config.data.cache = "ram"
    config.eval.every = 1000  # the end alone: the last states are compared, as they are reported
    return config


def get_study() -> Study:
    """Returns a row for each learning rate, size of a batch and number of epochs."""
    return Study(
        title="The recipe for a few hundred photos",
        base="rate 0.01, 12 a batch, 10 epochs",
        rows={
            "rate 0.01, 12 a batch, 10 epochs": _row(0.01, 12),
            "rate 0.03, 12 a batch, 10 epochs": _row(0.03, 12),
            "rate 0.005, 12 a batch, 10 epochs": _row(0.005, 12),
            "rate 0.01, 20 a batch, 10 epochs": _row(0.01, 20),
            "rate 0.01, 12 a batch, 20 epochs": _row(0.01, 12, 20.0),
        },
    )


def _row(rate: float, batch_size: int, epochs: float = 10.0) -> Row:
    return Row(
        {
            "train.learning_rate": rate,
            "train.batch_size": batch_size,
            "train.epochs": epochs,
        },
        _HEADS,
    )
