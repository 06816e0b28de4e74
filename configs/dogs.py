"""Stanford Dogs: 12,000 training and 8,580 test images of 120 dogs.

    python -m aftrans_jax.main --config=configs/dogs.py \
        --config.data.dir=/data/stanford_dogs --config.pretrained=ViT-B_16.npz

`configs/dogs.py:recipe=transfg` is TransFG's recipe: crops of 448 px from 600 px.
Hardware: meant for one GPU or TPU host. No full run has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the paper's recipe, or TransFG's."""
    config = recipe_config(argument)
    config.data.name = "dogs"
    config.data.dir = "data/stanford_dogs"
    config.pretrained = "ViT-B_16.npz"
    config.train.learning_rate = 0.003  # TransFG
    return config
