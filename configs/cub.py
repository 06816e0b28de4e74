"""CUB-200-2011: 5,994 training and 5,794 test images of 200 birds.

    python -m aftrans_jax.main --config=configs/cub.py --config.data.dir=/data/CUB_200_2011

`configs/cub.py:recipe=paper` has the paper's 448 px, stride 12, lambda and logits.
`configs/cub.py:recipe=transfg` is TransFG's: crops of 448 px from 600 px.
The paper reports 91.5 %. Hardware: meant for one GPU or TPU host (of 8 chips:
`--config.train.batch_size=16`). No full run has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the recipe that is named after the colon, or ours."""
    config = recipe_config(argument)
    config.data.name = "cub"
    config.data.dir = "data/CUB_200_2011"
    config.pretrained = "imagenet21k/ViT-B_16"
    return config
