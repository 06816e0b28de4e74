"""What the defaults are chosen by: photos held out of the training split, never the test photos.

    python -m aftrans_jax.study --study=configs/studies/choices.py --workdir=studies/choices \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

Read the columns of the validation; those of the test say what the choice was worth.
"""

from aftrans_jax.config import Config
from aftrans_jax.configs.studies.small import get_config as small_config
from aftrans_jax.studies.definition import Row, Study

_HEADS = ("global", "local", "sum")


def get_config() -> Config:
    """Returns the studies' recipe, with a fifth of the training photos held out."""
    config = small_config()
    config.data.validation_fraction = 0.2
    return config


def get_study() -> Study:
    """Returns a row for each part of the photo that is kept, kind of region and distillation."""
    return Study(
        title="Choices by held-out training photos",
        base="keep 0.2",
        rows={
            "keep 0.2": Row(heads=_HEADS),
            "keep 0.1": Row({"sacm.keep_ratio": 0.1}, _HEADS),
            "keep 0.3": Row({"sacm.keep_ratio": 0.3}, _HEADS),
            "keep 0.4": Row({"sacm.keep_ratio": 0.4}, _HEADS),
            "most relevant component": Row({"region.method": "most_relevant_component"}, _HEADS),
            "distill 1": Row({"loss.distill": 1.0}, _HEADS),
        },
    )
