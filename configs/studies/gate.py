"""Whether the gates of the layers learn: by the straight-through path, or not at all.

    python -m aftrans_jax.study --study=configs/studies/gate.py --workdir=studies/gate \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]


def get_study() -> Study:
    """Returns a row for each way to train the gates."""
    return Study(
        title="The gate of each layer",
        base="straight through",
        rows={
            "straight through": Row({"sacm.gate_gradient": "straight_through"}),
            "no gradient": Row({"sacm.gate_gradient": "none"}),
        },
    )
