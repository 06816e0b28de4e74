"""Table 3: how attention is used.

    python -m aftrans_jax.study --study=configs/studies/table3.py --workdir=studies/table3 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import RAMS, TRANSFG, VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]


def get_study() -> Study:
    """Returns a row for each use of attention, all from the same photos."""
    return Study(
        title="Table 3: how attention is used",
        base="none (ViT)",
        rows={
            "none (ViT)": Row(VIT, paper=90.2),
            "SACM (AFTrans)": Row(paper=91.3),
            "PSM (TransFG)": Row(TRANSFG, paper=90.9),
            "rollout (RAMS-Trans)": Row(RAMS),
        },
    )
