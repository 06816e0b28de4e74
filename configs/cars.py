"""Stanford Cars: 8,144 training and 8,041 test images of 196 cars.

    python -m aftrans_jax.main --config=configs/cars.py \
        --config.data.dir=/data/stanford_cars --config.pretrained=ViT-B_16.npz

`configs/cars.py:recipe=transfg` is TransFG's recipe: crops of 448 px from 600 px, AutoAugment.
Hardware: meant for one GPU or TPU host. No full run has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the paper's recipe, or TransFG's."""
    config = recipe_config(argument, augment="autoaugment")
    config.data.name = "cars"
    config.data.dir = "data/stanford_cars"
    config.pretrained = "ViT-B_16.npz"
    return config
