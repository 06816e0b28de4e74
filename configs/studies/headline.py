"""AFTrans beside the plain ViT of the same trunk, and beside a crop without attention.

    python -m aftrans_jax.study --study=configs/studies/headline.py --workdir=studies/headline \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum")


def get_study() -> Study:
    """Returns the rows that carry the claim; resolution.py has the plain ViT at 448 px."""
    return Study(
        title="AFTrans and the plain ViT at 224 px",
        base="ViT 224 px",
        rows={
            "ViT 224 px": Row(VIT),
            "AFTrans 224 px from 448 px": Row(heads=_HEADS),
            "centred crop, 224 px from 448 px": Row({"region.method": "centred"}, _HEADS),
            "annotated box, 224 px from 448 px": Row(
                {"region.method": "annotated"}, _HEADS, evaluates="AFTrans 224 px from 448 px"
            ),
        },
    )
