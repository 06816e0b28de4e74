"""Table 6: how the kept patches become a region.

    python -m aftrans_jax.study --study=configs/studies/table6.py --workdir=studies/table6 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]


def get_study() -> Study:
    """Returns a row for each way to make a region."""
    return Study(
        title="Table 6: from kept patches to a region",
        base="largest component",
        rows={
            "largest component": Row({"region.method": "largest_component"}, paper=91.5),
            "most relevant component": Row({"region.method": "most_relevant_component"}),
            "extreme values": Row({"region.method": "extreme_values"}, paper=90.9),
        },
    )
