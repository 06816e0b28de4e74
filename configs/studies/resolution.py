"""Accuracy against cost: the plain ViT and AFTrans at several resolutions and strides.

    python -m aftrans_jax.study --study=configs/studies/resolution.py --workdir=studies/resolution \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import PLAIN, VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_LARGE = {"data.image_size": 448}


def get_study() -> Study:
    """Returns a row for each model, size of the photos and stride."""
    return Study(
        title="Accuracy against GFLOP: ViT and AFTrans by resolution",
        base="ViT 224 px",
        rows={
            "ViT 224 px": Row(VIT),
            "AFTrans 224 px from 448 px": Row(),
            "ViT 448 px, stride 16": Row(VIT | _LARGE),
            "AFTrans 224 px": Row(PLAIN),
            "AFTrans 448 px, stride 16": Row(_LARGE),
            "ViT 448 px, stride 12": Row(VIT | _LARGE | {"model.stride": 12}),
            "AFTrans 448 px, stride 12": Row(_LARGE | {"model.stride": 12}),
        },
    )
