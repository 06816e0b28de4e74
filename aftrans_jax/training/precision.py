"""What the trunk computes in, and how float16's gradients are kept from underflowing."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
from flax.training.dynamic_scale import DynamicScale
from jaxtyping import Array

Tree = TypeVar("Tree")


@flax.struct.dataclass
class NoLossScale:
    """Takes gradients as they are; stands where float16 has a `DynamicScale`.

    Follows: jmp NoOpLossScale.
    """

    def value_and_grad(self, fun: Callable, *, has_aux: bool) -> Callable:
        """Returns `jax.value_and_grad(fun)` in the shape that `DynamicScale` returns it.

        A number that is not finite counts as progress here: there is no scale to lower, so it is
        left to show in the metrics and stop the run.

        Follows: flax DynamicScale.value_and_grad.
        """
        grad = jax.value_and_grad(fun, has_aux=has_aux)

        def wrapped(*args: Any) -> tuple[NoLossScale, Array, Any, Any]:
            value, gradient = grad(*args)
            return self, jnp.array(True), value, gradient

        return wrapped


class Precision(NamedTuple):
    """A computation type and its loss scale; parameters are float32 always.

    Paper: section 4.2, FP16.
    """

    dtype: jnp.dtype
    loss_scale: NoLossScale | DynamicScale


PRECISIONS: MappingProxyType[str, Callable[[], Precision]] = MappingProxyType(
    {
        "bfloat16": lambda: Precision(jnp.dtype(jnp.bfloat16), NoLossScale()),
        "float16": lambda: Precision(jnp.dtype(jnp.float16), DynamicScale()),
        "float32": lambda: Precision(jnp.dtype(jnp.float32), NoLossScale()),
        "auto": lambda: PRECISIONS["float32" if jax.default_backend() == "cpu" else "bfloat16"](),
    }
)


def where_finite(is_finite: Array, new: Tree, old: Tree) -> Tree:
    """Returns the tree `new` where the step's gradients were finite, else `old`.

    Follows: flax DynamicScale's example.
    """
    return jax.tree.map(lambda x, y: jnp.where(is_finite, x, y), new, old)
