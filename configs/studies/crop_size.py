"""How many pixels the crop is read at, and from how sharp a photo, by held-out photos.

    python -m aftrans_jax.study --study=configs/studies/crop_size.py --workdir=studies/crop_size \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

Read the columns of the validation; those of the test say what a choice was worth.
"""

from aftrans_jax.configs.studies.choices import get_config
from aftrans_jax.configs.studies.small import VIT
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum", "global")


def get_study() -> Study:
    """Returns a row for each size of the crop, and the plain ViT of the whole photo at 448 px."""
    return Study(
        title="Pixels of the crop",
        base="224 px",
        rows={
            "224 px": Row(heads=_HEADS),
            "320 px": Row({"data.local_size": 320}, _HEADS),
            "288 px": Row({"data.local_size": 288}, _HEADS),
            "320 px from 640 px": Row({"data.local_size": 320, "data.source_size": 640}, _HEADS),
            "ViT 448 px": Row(VIT | {"data.image_size": 448}),
        },
    )
