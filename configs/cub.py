"""CUB-200-2011, the paper's recipe.

    python -m aftrans_jax.main --config=configs/cub.py \
        --config.data.dir=/data/CUB_200_2011 --config.pretrained=ViT-B_16.npz

Hardware: meant for one GPU or TPU host. No full run has been made yet; the paper reports 91.5 %.
"""

from aftrans_jax.config import Config, base_config


def get_config() -> Config:
    """Returns the base configuration: it is this recipe."""
    config = base_config()
    config.data.name = "cub"
    config.data.dir = "data/CUB_200_2011"
    config.pretrained = "ViT-B_16.npz"
    return config
