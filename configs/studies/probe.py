"""Before any training: what a frozen trunk tells apart, by what it is shown.

    python -m aftrans_jax.study --study=configs/studies/probe.py --probe --workdir=studies/probe \
        --config.data.name=cub --config.data.dir=data/CUB_200_2011 \
        --config.pretrained=deit_tiny_patch16_224.npz

Hardware: two shared CPU cores and DeiT-tiny took one to five minutes
a row of a few hundred photos, most of them.
"""

from aftrans_jax.configs.studies.small import PLAIN, VIT, get_config
from aftrans_jax.studies.definition import Row, Study

__all__ = ["get_config", "get_study"]

_FINE = {"data.image_size": 448}
_CROP = ("local", "sum")


def get_study() -> Study:
    """Returns a row for each thing that the trunk is shown beside, or instead of, the photo."""
    return Study(
        title="Frozen trunk, logistic regression on class tokens",
        base="whole photo at 224 px",
        num_seeds=1,
        rows={
            "whole photo at 224 px": Row(VIT),
            "crop from 448 px, keep 0.2": Row({"sacm.keep_ratio": 0.2}, _CROP),
            "crop from 448 px, keep 0.1": Row({"sacm.keep_ratio": 0.1}, _CROP),
            "crop from 224 px, keep 0.2": Row(PLAIN, _CROP),
            "centred box, keep 0.2": Row({"region.method": "centred"}, _CROP),
            "annotated box": Row({"region.method": "annotated"}, _CROP),
            "whole photo at 448 px": Row(VIT | _FINE),
            **{
                f"crop from 448 px, keep {keep}": Row({"sacm.keep_ratio": keep}, _CROP)
                for keep in (0.05, 0.15, 0.3, 0.4)
            },
            **{
                f"found at 448 px, keep {keep}": Row(_FINE | {"sacm.keep_ratio": keep}, _CROP)
                for keep in (0.2, 0.4)
            },
        },
    )
