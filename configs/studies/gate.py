"""Whether the gates of the layers matter: learned, as they start (each about one half), or all 1.

The page shows the mean gate of each layer.

    python -m aftrans_jax.study --study=configs/studies/gate.py --workdir=studies/gate \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum")


def get_study() -> Study:
    """Returns a row for each kind of gates."""
    return Study(
        title="The gate of each layer",
        base="straight through",
        rows={
            "straight through": Row({"sacm.gate": "straight_through"}, _HEADS),
            "all ones": Row({"sacm.gate": "ones"}, _HEADS),
            "no gradient": Row({"sacm.gate": "no_gradient"}, _HEADS),
        },
    )
