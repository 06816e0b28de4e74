"""The trunk's computation type, and the loss scale that float16 needs against underflow."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from aftrans_jax.model.attention import AMPERE
from aftrans_jax.model.devices import compute_capability

Tree = TypeVar("Tree")

_CAPABILITY = " (compute capability "  # in names of GPUs without bfloat16


@flax.struct.dataclass
class NoLossScale:
    """A loss scale of 1, in place of float16's `DynamicLossScale`.

    Follows: jmp NoOpLossScale.
    """

    @property
    def scale(self) -> float:
        """Returns 1."""
        return 1.0

    def after(self, grads: Any) -> tuple["NoLossScale", Array]:
        """Returns itself and True.

        Gradients that are not finite are applied as well: there is no scale to lower, so they show
        in the metrics and stop the run.
        """
        del grads
        return self, jnp.array(True)


@flax.struct.dataclass
class DynamicLossScale:
    """The factor of float16's loss: halved at an overflow, doubled after 2000 steps without one.

    Attributes:
      scale: the factor; an array, so that a state has the same types before and after a step.
      finite_steps: steps in a row without an overflow since the scale last changed.

    Follows: flax DynamicScale, which is not used itself: it takes the gradient too, averaged over
      devices by `pmean` or not at all, where the sharding strategy sums shards of it.

    Choice: float16 has flax's dynamic loss scale, since section 3.2's APEX is for PyTorch.
    """

    scale: Any = np.float32(2**16)
    finite_steps: Any = np.int32(0)

    def after(self, grads: Any) -> tuple["DynamicLossScale", Array]:
        """Returns the scale for the next step, and whether all of these gradients are finite."""
        is_finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads)]).all()
        grows = is_finite & (self.finite_steps == 2000)
        factor = jnp.where(is_finite, jnp.where(grows, 2.0, 1.0), 0.5)
        limits = jnp.finfo(jnp.float32)
        scale = jnp.clip(factor * self.scale, limits.tiny, limits.max)
        steps = jnp.where(is_finite & ~grows, self.finite_steps + 1, 0)
        return DynamicLossScale(scale, steps), is_finite


class Precision(NamedTuple):
    """A computation type and its loss scale; parameters are always float32.

    Paper: section 3.2, FP16.

    Choice: class rows, SACM and logits are float32 at every precision; section 3.2 says FP16.
    """

    dtype: jnp.dtype
    loss_scale: NoLossScale | DynamicLossScale


def device_name() -> str:
    """Returns the kind of the devices; for GPUs without bfloat16 with their compute capability.

    So records show what "auto" meant on the machine that wrote them.
    """
    device = jax.devices()[0]  # the same for all processes
    capability = compute_capability(device)
    lacks = capability is not None and capability < AMPERE
    return f"{device.device_kind}{_CAPABILITY}{capability})" if lacks else device.device_kind


def meant_precision(name: str, device: str) -> str:
    """Returns the precision that a name means on a device named by `device_name`."""
    if name != "auto":
        return name
    return "float32" if device == "cpu" else "float16" if _CAPABILITY in device else "bfloat16"


def automatic_note(name: str) -> list[str]:
    """Returns a line where "auto" means float16 on these devices, else nothing."""
    device = device_name()
    if name != "auto" or meant_precision(name, device) != "float16":
        return []
    return [f"train.precision=auto is float16: {device} has no bfloat16"]


PRECISIONS: MappingProxyType[str, Callable[[], Precision]] = MappingProxyType(
    {
        "bfloat16": lambda: Precision(jnp.dtype(jnp.bfloat16), NoLossScale()),
        "float16": lambda: Precision(jnp.dtype(jnp.float16), DynamicLossScale()),
        "float32": lambda: Precision(jnp.dtype(jnp.float32), NoLossScale()),
        "auto": lambda: PRECISIONS[meant_precision("auto", device_name())](),
    }
)
# Types with a larger range than the training's, or with the same range and more digits.
WIDER = MappingProxyType({"float16": "float32 or bfloat16", "bfloat16": "float32", "float32": ""})


def where_finite(is_finite: Array, new: Tree, old: Tree) -> Tree:
    """Returns `new` where the step's gradients were finite, else `old`."""
    return jax.tree.map(lambda x, y: jnp.where(is_finite, x, y), new, old)
