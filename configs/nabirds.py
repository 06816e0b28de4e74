"""NABirds: 23,929 training and 24,633 test images of 555 birds.

    python -m aftrans_jax.main --config=configs/nabirds.py --config.data.dir=/data/nabirds

`configs/nabirds.py:recipe=paper` has the paper's 448 px, stride 12, lambda and logits.
`configs/nabirds.py:recipe=transfg` is TransFG's: crops of 448 px from 600 px.
Hardware: meant for one GPU or TPU host (of 8 chips: `--config.train.batch_size=16`). No full run
has been made yet.
"""

from aftrans_jax.config import Config, recipe_config


def get_config(argument: str = "") -> Config:
    """Returns the recipe that is named after the colon, or ours; all train for 10 epochs.

    Ten is a choice that has not been measured.
    """
    config = recipe_config(argument)
    config.data.name = "nabirds"
    config.data.dir = "data/nabirds"
    config.pretrained = "imagenet21k/ViT-B_16"
    config.train.steps = 0
    config.train.epochs = 10.0
    config.train.warmup_steps = -1
    config.eval.every = 0  # an epoch
    return config
