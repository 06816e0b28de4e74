"""The recipe of the studies: DeiT-tiny on a few hundred photos, minutes a run on two CPU cores.

    python -m aftrans_jax.main --config=configs/studies/small.py --config.data.name=cub \
        --config.data.dir=data/CUB_200_2011 --config.pretrained=deit_tiny_patch16_224.npz
"""

from aftrans_jax.config import Config, base_config

# Changes of rows: a photo no sharper than the global branch sees it, and other models.
PLAIN = {"data.source_size": 224}
VIT = {"model.name": "vit"}
CROPS = {"data.resize_ratio": 1.34}  # random windows of 3/4 of the sides, as TransFG's
AFTRANS_CROPS = CROPS | {"sacm.keep_ratio": 0.3}  # a larger share of the smaller window
TRANSFG = {"model.name": "transfg", "loss.contrastive": 1.0}
RAMS = {"model.name": "rams"}


def get_config() -> Config:
    """Returns what the studies change; data set and weights are the command line's."""
    config = base_config()
    config.data.cache = "ram"
    config.train.steps = 90
    config.train.batch_size = 20
    config.train.learning_rate = 0.01
    config.train.warmup_steps = 10
    config.train.save_every = 30  # a killed run loses no more
    return config
