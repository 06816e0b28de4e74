"""The models: pure JAX and Flax Linen, no files, no configuration."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aftrans_jax.model.aftrans import AFTrans as AFTrans
    from aftrans_jax.model.outputs import ModelOutput as ModelOutput
    from aftrans_jax.model.outputs import Region as Region
    from aftrans_jax.model.plain_vit import PlainViT as PlainViT
    from aftrans_jax.model.rams import RAMS as RAMS
    from aftrans_jax.model.sacm import SACM as SACM
    from aftrans_jax.model.transfg import TransFG as TransFG
    from aftrans_jax.model.variants import VARIANTS as VARIANTS
    from aftrans_jax.model.variants import Variant as Variant
    from aftrans_jax.model.vit import ViT as ViT

# Imported on first use, so that a module of this room brings only what it imports itself.
_PLACES = {
    "AFTrans": "aftrans",
    "ModelOutput": "outputs",
    "PlainViT": "plain_vit",
    "Region": "outputs",
    "RAMS": "rams",
    "SACM": "sacm",
    "TransFG": "transfg",
    "VARIANTS": "variants",
    "Variant": "variants",
    "ViT": "vit",
}
__all__ = [
    "RAMS",
    "SACM",
    "VARIANTS",
    "AFTrans",
    "ModelOutput",
    "PlainViT",
    "Region",
    "TransFG",
    "Variant",
    "ViT",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
