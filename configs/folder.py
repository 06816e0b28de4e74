"""Your own photos, in a folder or listed in a CSV file.

    python -m aftrans_jax.main --config=configs/folder.py --config.data.dir=/data/photos

The folder holds `train/<class>/` and `test/<class>/` (or `val/<class>/`); or a folder for each
class, of which a fifth is kept for the test. A CSV file with the columns path, label and, if you
like, split: add `--config.data.name=csv` and let `data.dir` name the file.
Look at the data first: `python -m aftrans_jax.check_data` takes the same arguments.
"""

from aftrans_jax.config import Config, base_config


def get_config() -> Config:
    """Returns 10 epochs of all training images; the last state is reported.

    Rate, batch and epochs: benchmarks/results/studies/own_photos-pets37.md.
    """
    config = base_config()
    config.data.name = "folder"
    config.data.dir = "data/photos"
    config.pretrained = "imagenet21k/ViT-B_16"
    config.train.steps = 0
    config.train.epochs = 10.0
    config.train.warmup_steps = -1
    config.train.learning_rate = 0.01
    config.train.save_every = 100  # a few hundred images are a few hundred steps
    config.eval.every = 0  # an epoch: a few hundred steps would see no evaluation on the way
    return config
