"""What balanced sampling and class weights give where classes have unequally many photos.

    python -m aftrans_jax.study --study=configs/studies/imbalance.py --workdir=studies/imbalance \
        --config.data.name=csv --config.data.dir=data/cub10/cub10_long_tail.csv \
        --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.configs.studies.small import get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_HEADS = ("local", "sum", "global")


def get_study() -> Study:
    """Returns a row for each way to make classes count the same."""
    return Study(
        title="Unequally large classes",
        base="as they are",
        rows={
            "as they are": Row(heads=_HEADS),
            "balanced sampling": Row({"data.sampling": "balanced"}, _HEADS),
            "class weights": Row({"loss.class_weights": "inverse"}, _HEADS),
        },
    )
