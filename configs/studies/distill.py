"""What one pass gains where the local branch taught it: the global logits, with `loss.distill`.

    python -m aftrans_jax.study --study=configs/studies/distill.py --workdir=studies/distill \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("global", "local", "sum")


def get_study() -> Study:
    """Returns a row for each weight of the distillation."""
    return Study(
        title="Distillation from the local to the global branch",
        base="ViT",
        rows={
            "ViT": Row(VIT),
            "AFTrans, distill 1": Row({"loss.distill": 1.0}, _HEADS),
            "AFTrans": Row(heads=_HEADS),
            "AFTrans, distill 0.3": Row({"loss.distill": 0.3}, _HEADS),
            "AFTrans, distill 3": Row({"loss.distill": 3.0}, _HEADS),
        },
    )
