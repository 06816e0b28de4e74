"""Selective attention collection module: fuse heads, gate layers, mark the patches that matter.

In the paper's order: class rows of all layers -> fused over heads -> one gate per layer ->
relevance of every patch -> the best ones. All in float32, whatever the trunk computes in.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Select = Callable[[Array, Array, float], Array]


def geometric_mean(
    log_rows: Float[Array, "*batch heads patches"],
) -> Float[Array, "*batch patches"]:
    """Returns the log of the geometric mean over heads.

    Choice: ranks patches as the product does, in a range where layers can be compared.
    """
    return log_rows.mean(axis=-2)


def product(log_rows: Float[Array, "*batch heads patches"]) -> Float[Array, "*batch patches"]:
    """Returns the log of the product over heads.

    Paper: eq. 6.
    """
    return log_rows.sum(axis=-2)


def arithmetic_mean(
    log_rows: Float[Array, "*batch heads patches"],
) -> Float[Array, "*batch patches"]:
    """Returns the log of the mean over heads.

    Choice: attention rollout averages heads so; kept to compare with.
    """
    return jax.nn.logsumexp(log_rows, axis=-2) - jnp.log(log_rows.shape[-2])


HEAD_FUSIONS = MappingProxyType(
    {"geometric": geometric_mean, "product": product, "mean": arithmetic_mean}
)


class GatedRows(NamedTuple):
    """Gates [batch layers] in (0, 1) and class rows [batch layers patches] that sum to 1.

    Paper: M_L of eq. 9 and W_c.
    """

    gate: Array
    layer_rows: Array


class SACM(nn.Module):
    """Selective attention collection module.

    Attributes:
      reduction: how much narrower the gate's hidden layer is than the number of layers.
      head_fusion: one of `HEAD_FUSIONS`.

    Paper: section 3.2, equations 6 and 9.
    """

    reduction: int
    head_fusion: str

    @nn.compact
    def __call__(
        self,
        log_rows: Float[Array, "batch layers heads patches"],
        descriptor: Float[Array, "batch layers"],
    ) -> GatedRows:
        num_layers = descriptor.shape[-1]
        squeezed = nn.Dense(max(1, num_layers // self.reduction), use_bias=False, name="squeeze")(
            standardize(descriptor)
        )
        gate = nn.sigmoid(nn.Dense(num_layers, use_bias=False, name="excite")(nn.relu(squeezed)))
        fused = HEAD_FUSIONS[self.head_fusion](log_rows)
        return GatedRows(gate, jax.nn.softmax(fused, axis=-1))


def standardize(x: Float[Array, "*batch layers"]) -> Float[Array, "*batch layers"]:
    """Returns x with mean 0 and standard deviation 1 over layers.

    Choice: log statistics are large and alike; what tells layers apart is their difference.
    """
    return (x - x.mean(axis=-1, keepdims=True)) / (x.std(axis=-1, keepdims=True) + 1e-6)


def relevance(
    gate: Float[Array, "batch layers"], layer_rows: Float[Array, "batch layers patches"]
) -> Float[Array, "batch patches"]:
    """Returns the gated sum of the layers' class rows.

    Paper: A_F of eq. 8.
    """
    return jnp.einsum("bl,blp->bp", gate, layer_rows, precision="highest")


def kth_largest(values: Float[Array, "batch n"], k: int) -> Float[Array, "batch 1"]:
    """Returns the k-th largest of non-negative float32 values, exactly, k from 1 to n.

    Bisection on the bits: floats without a sign order as their bits do. A NaN counts as largest.

    Choice: many times faster than top_k, which sorts.
    """
    bits = jax.lax.bitcast_convert_type(jnp.abs(values), jnp.int32)  # abs: -0.0 has a sign bit

    def set_bit(step: Array, threshold: Array) -> Array:
        candidate = threshold | (1 << (30 - step))
        enough = (bits >= candidate).sum(axis=-1, keepdims=True) >= k
        return jnp.where(enough, candidate, threshold)

    threshold = jax.lax.fori_loop(0, 31, set_bit, jnp.zeros_like(bits[:, :1]))
    return jax.lax.bitcast_convert_type(threshold, jnp.float32)


def num_kept(count: int, keep_ratio: float) -> int:
    """Returns how many of `count` values are kept, at least one.

    Paper: lambda of section 3.2.
    """
    return max(1, round(count * keep_ratio))


def select_fused(
    gate: Float[Array, "batch layers"],
    layer_rows: Float[Array, "batch layers patches"],
    keep_ratio: float,
) -> Bool[Array, "batch patches"]:
    """Returns the patches of highest relevance; equals of the last one are all kept.

    Choice: layers are fused first, since the union over layers covers the whole image.
    """
    return _keep_best(relevance(gate, layer_rows), keep_ratio)


def select_union(
    gate: Float[Array, "batch layers"],
    layer_rows: Float[Array, "batch layers patches"],
    keep_ratio: float,
) -> Bool[Array, "batch patches"]:
    """Returns the patches that any of the best (layer, patch) pairs names.

    Paper: section 3.2, to the letter.
    """
    return _best_pairs(gate, layer_rows, keep_ratio).any(axis=1)


def select_votes(
    gate: Float[Array, "batch layers"],
    layer_rows: Float[Array, "batch layers patches"],
    keep_ratio: float,
) -> Bool[Array, "batch patches"]:
    """Returns the patches that most of the best (layer, patch) pairs name, ties by relevance.

    Choice: the letter's pairs, read so that the number of patches kept is lambda N.
    """
    votes = _best_pairs(gate, layer_rows, keep_ratio).sum(axis=1)
    fused = relevance(gate, layer_rows)
    return _keep_best(votes + 0.5 * fused / fused.max(axis=-1, keepdims=True), keep_ratio)


def _best_pairs(gate: Array, layer_rows: Array, keep_ratio: float) -> Array:
    gated = gate[:, :, None] * layer_rows
    return _keep_best(gated.reshape(len(gated), -1), keep_ratio).reshape(gated.shape)


def _keep_best(values: Array, keep_ratio: float) -> Array:
    return values >= kth_largest(values, num_kept(values.shape[-1], keep_ratio))


SELECTIONS = MappingProxyType({"fused": select_fused, "union": select_union, "votes": select_votes})
