"""What a gain could come from besides attention: a second view, a closer one, more training.

    python -m aftrans_jax.study --study=configs/studies/controls.py --workdir=studies/controls \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import AFTRANS_CROPS, CROPS, VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum")
_LENGTHS = ("train.steps", "train.epochs")  # one of them is 0
# Cut at 448 px, as the crops of AFTrans are, and shrunk to 224 px.
_RESIZED = {"data.source_size": 448, "data.crop": "resized"}


def get_study() -> Study:
    """Returns AFTrans by its local logits and the sum, and what it has to beat."""
    return Study(
        title="Controls without attention",
        base="AFTrans",
        rows={
            "AFTrans": Row(heads=_HEADS),
            "centred crop": Row({"region.method": "centred"}, heads=_HEADS),
            "whole photo again": Row({"region.method": "whole"}, heads=_HEADS),
            "random crop": Row({"region.method": "random"}, heads=_HEADS),
            "ViT": Row(VIT),
            "ViT, twice the steps": Row(VIT | dict.fromkeys(_LENGTHS, lambda length: 2 * length)),
            "ViT, random crops": Row(VIT | CROPS),
            "AFTrans, random crops": Row(AFTRANS_CROPS, _HEADS),
            "ViT, random resized crops": Row(VIT | _RESIZED),
            "annotated box": Row({"region.method": "annotated"}, _HEADS, evaluates="AFTrans"),
        },
    )
