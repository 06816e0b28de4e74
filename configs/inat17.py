"""iNaturalist 2017: 579,184 training and 95,986 validation images of 5,089 species.

    python -m aftrans_jax.main --config=configs/inat17.py --config.data.dir=/data/inat2017

`configs/inat17.py:recipe=paper` has the paper's 448 px, stride 12, lambda and logits.
`configs/inat17.py:recipe=transfg` is TransFG's: crops of 304 px from 400 px, AutoAugment.
`--config.data.supercategory=Aves` keeps one of the thirteen super-categories.
Hardware: meant for one GPU or TPU host (of 8 chips: `--config.train.batch_size=16`). No full run
has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the recipe that is named after the colon, or ours; all train for 10 epochs.

    Ten is a choice that has not been measured.
    """
    config = recipe_config(argument, image_size=304, resize_size=400, augment="autoaugment")
    config.data.name = "inat17"
    config.data.dir = "data/inat2017"
    config.pretrained = "imagenet21k/ViT-B_16"
    config.train.learning_rate = 0.01  # TransFG
    config.train.steps = 0
    config.train.epochs = 10.0
    config.train.warmup_steps = -1
    config.eval.every = 0  # an epoch
    return config
