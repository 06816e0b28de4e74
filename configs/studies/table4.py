"""Table 4: which logits predict; one training a seed, judged by each of them.

    python -m aftrans_jax.study --study=configs/studies/table4.py --workdir=studies/table4 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import PLAIN, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["FIGURES", "get_config", "get_study"]

FIGURES = {"global": 91.5, "local": 90.6, "sum": 91.0}


def get_study() -> Study:
    """Returns AFTrans by its global logits, its local logits and their sum."""
    return Study(
        title="Table 4: which logits predict",
        base="AFTrans",
        rows={
            "AFTrans": Row(heads=("global", "local", "sum"), paper=FIGURES),
            "AFTrans, photos of 224 px": Row(PLAIN, ("global", "local", "sum")),
        },
    )
