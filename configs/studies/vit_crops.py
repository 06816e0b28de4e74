"""AFTrans beside its strongest rival at this size: a plain ViT trained on random crops.

    python -m aftrans_jax.study --study=configs/studies/vit_crops.py --workdir=studies/vit_crops \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import AFTRANS_CROPS, CROPS, VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum")
_WHOLE = {"eval.resize_ratio": 1.0}  # tested on whole photos, not on their middle


def get_study() -> Study:
    """Returns the ViT, and AFTrans by whole photos and by the same random crops.

    Tested on whole photos, subjects are smaller than in the crops of the training.
    """
    return Study(
        title="AFTrans and a ViT trained on random crops",
        base="ViT, random crops",
        rows={
            "ViT, random crops": Row(VIT | CROPS),
            "AFTrans, random crops": Row(AFTRANS_CROPS, _HEADS),
            "AFTrans": Row(heads=_HEADS),
            "ViT, random crops, whole photos": Row(VIT | CROPS | _WHOLE),
            "AFTrans, random crops, whole photos": Row(AFTRANS_CROPS | _WHOLE, _HEADS),
        },
    )
