"""The paper's own sizes on one data set: 448 px, patches every 12 px, lambda 0.4, global logits.

The paper's figures, of CUB-200-2011 with ViT-B/16, stand beside.

    python -m aftrans_jax.study --study=configs/studies/paper.py --workdir=studies/paper \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import VIT, get_config
from aftrans_jax.configs.studies.table4 import FIGURES
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_SIZES = {"data.image_size": 448, "model.stride": 12}
_PAPER = _SIZES | {"sacm.keep_ratio": 0.4, "region.resample": "bilinear"}
_HEADS = ("global", "local", "sum")


def get_study() -> Study:
    """Returns AFTrans as in the paper, the plain ViT of these sizes, and ours by default."""
    return Study(
        title="The paper's sizes: 448 px, stride 12",
        base="AFTrans, the paper's",
        rows={
            "AFTrans, the paper's": Row(_PAPER, _HEADS, FIGURES),
            "ViT, the paper's": Row(VIT | _SIZES, paper=90.2),
            "AFTrans, the paper's sizes, keep 0.2": Row(_SIZES, _HEADS),
            "AFTrans, 224 px from 448 px, keep 0.2": Row(heads=_HEADS),
        },
    )
