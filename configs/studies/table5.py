"""Table 5: lambda, the share of patches that is kept; the paper's is of (layer, patch) pairs.

It is chosen by the validation columns, never by those of the test images.

    python -m aftrans_jax.study --study=configs/studies/table5.py --workdir=studies/table5 \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz --config.data.validation_fraction=0.2
"""

from aftrans_jax.configs.studies.small import get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]


def get_study() -> Study:
    """Returns a row for each lambda."""
    return Study(
        title="Table 5: lambda",
        base="keep 0.2",
        rows={
            "keep 0.2": Row({"sacm.keep_ratio": 0.2}, paper=90.9),
            "keep 0.1": Row({"sacm.keep_ratio": 0.1}, paper=90.6),
            "keep 0.4": Row({"sacm.keep_ratio": 0.4}, paper=91.5),
            "keep 0.3": Row({"sacm.keep_ratio": 0.3}, paper=91.3),
            "keep 0.15": Row({"sacm.keep_ratio": 0.15}),
            "keep 0.5": Row({"sacm.keep_ratio": 0.5}, paper=91.1),
        },
    )
