"""The models: pure JAX and Flax Linen, no files, no configuration."""

from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.baseline import Baseline
from aftrans_jax.model.outputs import ModelOutput, Region
from aftrans_jax.model.rams import RAMS
from aftrans_jax.model.sacm import SACM
from aftrans_jax.model.transfg import TransFG
from aftrans_jax.model.variants import VARIANTS, Variant
from aftrans_jax.model.vit import ViT

__all__ = [
    "RAMS",
    "SACM",
    "VARIANTS",
    "AFTrans",
    "Baseline",
    "ModelOutput",
    "Region",
    "TransFG",
    "Variant",
    "ViT",
]
