"""AFTrans: fine-grained visual recognition with a vision transformer's own attention.

`load` returns a trained model as a function of photos, `train` trains one from a configuration,
`get_config` returns configurations, and `create` a model before training.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aftrans_jax.inference.classifier import Classifier as Classifier
    from aftrans_jax.inference.prediction import Prediction as Prediction
    from aftrans_jax.library import create as create
    from aftrans_jax.library import get_config as get_config
    from aftrans_jax.library import load as load
    from aftrans_jax.library import train as train

__version__ = "0.1.0"

# Imported on first use, since jax takes seconds.
_PLACES = {
    "load": "library",
    "create": "library",
    "train": "library",
    "get_config": "library",
    "Classifier": "inference.classifier",
    "Prediction": "inference.prediction",
}
_ROOMS = ("config", "model", "weights")
__all__ = ["Classifier", "Prediction", "__version__", "create", "get_config", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:  # so that aft.model.AFTrans needs no separate import
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
