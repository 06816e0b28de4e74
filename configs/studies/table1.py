"""Tables 1 and 2: the methods on one data set, which the command line names.

The paper's figures are those of CUB-200-2011 at 448 px with ViT-B/16.

    python -m aftrans_jax.study --study=configs/studies/table1.py --workdir=studies/table1 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import RAMS, TRANSFG, VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]


def get_study() -> Study:
    """Returns a row for each method."""
    return Study(
        title="Table 1: methods (the paper's figures: CUB-200-2011, ViT-B/16, 448 px)",
        base="ViT",
        rows={
            "ViT": Row(VIT, paper=90.2),
            "AFTrans": Row(paper=91.5),
            "TransFG": Row(TRANSFG, paper=90.9),
            "RAMS-Trans": Row(RAMS),
        },
    )
