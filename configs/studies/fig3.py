"""Figure 3: where AFTrans looks; the part "Where they look" of table.html, with annotated boxes.

    python -m aftrans_jax.study --study=configs/studies/fig3.py --workdir=studies/fig3 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

The page of every study shows the boxes of its rows; table6.py has other ways to make a region.
"""

from aftrans_jax.configs.studies.small import get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]


def get_study() -> Study:
    """Returns AFTrans, once."""
    return Study(
        title="Figure 3: where AFTrans looks",
        base="AFTrans",
        rows={"AFTrans": Row(heads=("local", "sum"))},
        num_seeds=1,
    )
