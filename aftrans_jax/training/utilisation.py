"""FLOP of a forward pass, and how much of a device's peak the training makes of them."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# FLOP/s of dense bfloat16 and float16 products by `Device.device_kind`. GPUs: NVIDIA's datasheets
# of A100, H100 and H200, SXM modules, half of what they give with sparsity. TPUs: a chip in
# Google's documentation, cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}; the names are those of JAX's
# own table (jax/_src/pallas/mosaic/tpu_info.py). A chip of these generations is one device.
PEAK_HALF_FLOPS: Mapping[str, float] = MappingProxyType(
    {
        "NVIDIA A100-SXM4-40GB": 312e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H200": 989e12,
        "TPU v4": 275e12,
        "TPU v5 lite": 197e12,
        "TPU v5e": 197e12,
        "TPU v5": 459e12,
        "TPU v5p": 459e12,
        "TPU v6 lite": 918e12,
        "TPU v6e": 918e12,
    }
)


def peak_flops(dtype: str) -> float | None:
    """Returns the FLOP/s of each device here at best, None if not known.

    Only half precision has a peak here: tf32 and float32 are not what is trained in.
    """
    if dtype not in ("bfloat16", "float16"):
        return None
    return PEAK_HALF_FLOPS.get(jax.devices()[0].device_kind)


def forward_flops(
    model: nn.Module, params: Mapping[str, Any], image_size: int, *, only_global: bool = False
) -> int:
    """Returns the FLOP of one image's forward pass, 2 per multiply-add of its products.

    Products alone are what model FLOP utilisation counts by convention, and the count follows from
    the model, not from what a backend's compiler makes of it. They are those of matrices and
    convolutions, of the resampling too, which is by matrices here. Not counted are the operations
    on single elements, such as softmax, GELU and layer norm, and the labelling's loop. By XLA's
    count, which takes those in, a ViT has 0.4 % (B/16, GELU by tanh) to 5.5 % (Ti/16, exact) more.
    Nothing is compiled or computed.
    Products in a kernel of its own, such as cuDNN's attention, are not seen: the model must have
    XLA's attention. The same kind of pass elsewhere has as many.

    Args:
      model: module called with images and `train`; `global_logits` takes images alone.
      params: parameters of the model, arrays or their shapes.
      image_size: side of the images in pixels, as the model takes them.
      only_global: whether to count the pass that gives the global logits alone.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.uint8)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    options = {"method": "global_logits"} if only_global else {"train": False}
    traced = jax.make_jaxpr(partial(model.apply, **options))({"params": shapes}, images)
    return _flops(traced.jaxpr)


def _flops(jaxpr: Jaxpr) -> int:
    return sum(_product_flops(eqn) + _inner_flops(eqn) for eqn in jaxpr.eqns)


def _product_flops(eqn: JaxprEqn) -> int:
    """Returns the FLOP of a matrix product or a convolution, 0 of anything else."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        shape = _shape(eqn.invars[0])
        per_value = math.prod(shape[axis] for axis in contracted)
    elif eqn.primitive.name == "conv_general_dilated":
        kernel = _shape(eqn.invars[1])
        per_value = math.prod(kernel) // kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    else:
        return 0
    return 2 * per_value * math.prod(_shape(eqn.outvars[0]))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner_flops(eqn: JaxprEqn) -> int:
    """Returns the FLOP of the functions that an operation calls; of a loop without end, once."""
    inner = sum(_flops(jaxpr) for jaxpr in _inner(eqn.params))
    return inner * eqn.params["length"] if eqn.primitive.name == "scan" else inner


def _inner(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    for value in jax.tree.leaves(list(params.values()), is_leaf=lambda x: isinstance(x, Jaxpr)):
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
