"""The recipe of the studies: DeiT-tiny on a few hundred photos, minutes a run on two CPU cores.

    python -m aftrans_jax.main --config=configs/studies/small.py --config.data.name=cub \
        --config.data.dir=data/CUB_200_2011 --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.config import Config, base_config

# Changes of rows: photos as they come to a model without a crop, and other models.
PLAIN = {"data.source_size": 224}
VIT = PLAIN | {"model.name": "vit"}
TRANSFG = PLAIN | {"model.name": "transfg", "loss.contrastive": 1.0}
RAMS = {"model.name": "rams"}


def get_config() -> Config:
    """Returns the configuration that the studies change; the data set is the command line's."""
    config = base_config()
    config.model.variant = "ti16"
    config.model.gelu = "exact"
    config.data.mean = (0.485, 0.456, 0.406)  # what DeiT was trained with
    config.data.std = (0.229, 0.224, 0.225)
    config.data.cache = "ram"
    config.train.steps = 90
    config.train.batch_size = 20
    config.train.learning_rate = 0.01
    config.train.warmup_steps = 10
    config.train.save_every = 30  # a killed run loses no more
    config.report.tensorboard = False  # its import alone takes seconds
    return config
