"""Stanford Dogs: 12,000 training and 8,580 test images of 120 dogs.

    python -m aftrans_jax.main --config=configs/dogs.py --config.data.dir=/data/stanford_dogs

`configs/dogs.py:recipe=paper` has the paper's 448 px, stride 12, lambda and logits.
`configs/dogs.py:recipe=transfg` is TransFG's: crops of 448 px from 600 px.
Hardware: meant for one GPU or TPU host (of 8 chips: `--config.train.batch_size=16`). No full run
has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the recipe that is named after the colon, or ours."""
    config = recipe_config(argument)
    config.data.name = "dogs"
    config.data.dir = "data/stanford_dogs"
    config.pretrained = "imagenet21k/ViT-B_16"
    config.train.learning_rate = 0.003  # TransFG
    return config
