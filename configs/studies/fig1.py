"""Figure 1: the crop by one layer's attention alone, by all layers fused, and part selection.

    python -m aftrans_jax.study --study=configs/studies/fig1.py --workdir=studies/fig1 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

With --probe nothing is trained; all rows can be probed, TransFG's with its untrained selection.
"""

from aftrans_jax.configs.studies.small import TRANSFG, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_LAYERS = (12, 10, 8, 6, 1, 9, 11, 3, 7, 5, 4, 2)  # of DeiT-tiny and B/16, the most telling first


def get_study() -> Study:
    """Returns a row for all layers, for each layer alone, and for TransFG's product of them."""
    return Study(
        title="Figure 1: one layer's attention against all layers fused",
        base="all layers (SACM)",
        rows={
            "all layers (SACM)": Row(heads=("local",)),
            **{f"L{number}": Row({"sacm.layers": (number,)}, ("local",)) for number in _LAYERS},
            "PSM (TransFG)": Row(TRANSFG),
        },
    )
