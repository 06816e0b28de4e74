"""Stanford Cars: 8,144 training and 8,041 test images of 196 cars.

    python -m aftrans_jax.main --config=configs/cars.py --config.data.dir=/data/stanford_cars

`configs/cars.py:recipe=paper` has the paper's 448 px, stride 12, lambda and logits.
`configs/cars.py:recipe=transfg` is TransFG's: crops of 448 px from 600 px, AutoAugment.
Hardware: meant for one GPU or TPU host (of 8 chips: `--config.train.batch_size=16`). No full run
has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the recipe that is named after the colon, or ours."""
    config = recipe_config(argument, augment="autoaugment")
    config.data.name = "cars"
    config.data.dir = "data/stanford_cars"
    config.pretrained = "imagenet21k/ViT-B_16"
    return config
