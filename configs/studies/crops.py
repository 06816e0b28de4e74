"""What random crops give AFTrans and the plain ViT, by photos held out of the training split.

    python -m aftrans_jax.study --study=configs/studies/crops.py --workdir=studies/crops \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

Photos are resized to 1.34 times what is read, as to 600 px for 448; training reads random windows,
evaluation the middle one. Read the columns of the validation; those of the test say what a choice
was worth.
"""

from aftrans_jax.configs.studies.choices import get_config
from aftrans_jax.configs.studies.small import AFTRANS_CROPS, CROPS, VIT
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum", "global")


def get_study() -> Study:
    """Returns both models with and without crops, and AFTrans by a larger region of them."""
    return Study(
        title="Random crops",
        base="ViT, random crops",
        rows={
            "ViT, random crops": Row(VIT | CROPS),
            "AFTrans, random crops, keep 0.3": Row(AFTRANS_CROPS, _HEADS),
            "AFTrans, random crops": Row(CROPS, _HEADS),
            "AFTrans": Row(heads=_HEADS),
            "ViT": Row(VIT),
        },
    )
