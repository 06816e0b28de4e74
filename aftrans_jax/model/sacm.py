"""Selective attention collection module: fuse heads, gate layers, mark the patches that matter.

In the paper's order: class rows of all layers -> fused over heads -> one gate per layer ->
relevance of every patch -> the most relevant ones. All in float32, whatever the trunk computes in.
"""

from functools import partial
from types import MappingProxyType

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from aftrans_jax.model.outputs import GatedRows


def geometric_mean(
    log_rows: Float[Array, "*batch heads patches"],
) -> Float[Array, "*batch patches"]:
    """Returns the log of the geometric mean over heads.

    Its values range as one head's do, so layers can be compared.

    Choice: the heads' geometric mean; eq. 6's product ranks patches alike but underflows.
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
    """Returns the log of the arithmetic mean over heads, an option to compare with.

    Follows: attention rollout.
    """
    return jax.nn.logsumexp(log_rows, axis=-2) - jnp.log(log_rows.shape[-2])


HEAD_FUSIONS = MappingProxyType(
    {"geometric": geometric_mean, "product": product, "mean": arithmetic_mean}
)


def learned(gate: Float[Array, "batch layers"]) -> Float[Array, "batch layers"]:
    """Returns the learned gates, which get their gradient by `aftrans.straight_through_scale`."""
    return gate


def no_gradient(gate: Float[Array, "batch layers"]) -> Float[Array, "batch layers"]:
    """Returns the gates without a gradient, so that the MLP keeps its initial weights.

    Paper: section 2.2.2 as written; box and crop are piecewise constant in the gate.
    """
    return jax.lax.stop_gradient(gate)


def ones(gate: Float[Array, "batch layers"]) -> Float[Array, "batch layers"]:
    """Returns 1 for every layer: the relevance is the plain sum of the layers' class rows."""
    return jnp.ones_like(gate)


GATES = MappingProxyType({"straight_through": learned, "no_gradient": no_gradient, "ones": ones})


class SACM(nn.Module):
    """The selective attention collection module: class rows, fused over heads, and their gates.

    The parameters are the same whatever `gate` is, so that checkpoints fit.

    Attributes:
      reduction: number of layers over the width of the gate's hidden layer.
      head_fusion: one of `HEAD_FUSIONS`.
      gate: one of `GATES`.

    Paper: section 2.2.1, eq. 6 and 9.

    Choice: the gate's MLP is as wide as there are layers; what eq. 9's width C is, is not said.

    Choice: each layer's class row is rescaled to sum to 1; eq. 6's products span powers of ten.

    Choice: every gate starts at about 0.5, so that no seed favours layers before any is learnt.
    """

    reduction: int
    head_fusion: str
    gate: str = "straight_through"

    @nn.compact
    def __call__(
        self,
        log_rows: Float[Array, "batch layers heads patches"],
        descriptor: Float[Array, "batch layers"],
    ) -> GatedRows:
        num_layers = descriptor.shape[-1]
        dense = partial(nn.Dense, use_bias=False, precision="highest")
        narrow = max(1, num_layers // self.reduction)
        squeezed = dense(narrow, name="squeeze")(standardize(descriptor))
        excite = dense(num_layers, kernel_init=nn.initializers.normal(0.02), name="excite")
        gate = nn.sigmoid(excite(nn.relu(squeezed)))
        fused = HEAD_FUSIONS[self.head_fusion](log_rows)
        return GatedRows(GATES[self.gate](gate), jax.nn.softmax(fused, axis=-1))


def standardize(x: Float[Array, "*batch layers"]) -> Float[Array, "*batch layers"]:
    """Returns x with mean 0 and standard deviation 1 over layers.

    Choice: descriptors are standardised over layers; eq. 9 does not, but logs are large and alike.
    """
    return (x - x.mean(axis=-1, keepdims=True)) / (x.std(axis=-1, keepdims=True) + 1e-6)


def relevance(
    gate: Float[Array, "batch layers"], layer_rows: Float[Array, "batch layers patches"]
) -> Float[Array, "batch patches"]:
    """Returns the gated sum of the layers' class rows.

    Paper: A_F of eq. 8.
    """
    return jnp.einsum("bl,blp->bp", gate, layer_rows, precision="highest")


@partial(jax.jit, static_argnums=1, inline=True)  # outside of jit the loop is compiled once
def kth_largest(values: Float[Array, "batch n"], k: int) -> Float[Array, "batch 1"]:
    """Returns the k-th largest of non-negative float32 values, exactly, k from 1 to n.

    By bisection on the bits, which order as the floats do where none has a sign; many times faster
    than `top_k`, which sorts. A NaN counts as largest.
    """
    bits = jax.lax.bitcast_convert_type(jnp.abs(values), jnp.int32)  # abs: a NaN may have a sign

    def set_bit(step: Array, threshold: Array) -> Array:
        candidate = threshold | (1 << (30 - step))
        enough = (bits >= candidate).sum(axis=-1, keepdims=True) >= k
        return jnp.where(enough, candidate, threshold)

    threshold = jax.lax.fori_loop(0, 31, set_bit, jnp.zeros_like(bits[:, :1]))
    return jax.lax.bitcast_convert_type(threshold, jnp.float32)


def num_kept(count: int, keep_ratio: float) -> int:
    """Returns how many of `count` values are kept, at least one.

    Paper: lambda of section 2.2.1.
    """
    return max(1, round(count * keep_ratio))


def select_fused(
    gate: Float[Array, "batch layers"],
    layer_rows: Float[Array, "batch layers patches"],
    keep_ratio: float,
) -> Bool[Array, "batch patches"]:
    """Returns the patches of highest relevance.

    Choice: layers are summed before patches are kept; a union of 2.2.1's pairs is the whole image.

    Choice: patches that tie with the last one kept are kept too; section 2.2.1 does not say.
    """
    return _keep_best(relevance(gate, layer_rows), keep_ratio)


def select_union(
    gate: Float[Array, "batch layers"],
    layer_rows: Float[Array, "batch layers patches"],
    keep_ratio: float,
) -> Bool[Array, "batch patches"]:
    """Returns the patches that occur in any of the best (layer, patch) pairs.

    Paper: section 2.2.1 as written, the best L N lambda.
    """
    return _best_pairs(gate, layer_rows, keep_ratio).any(axis=1)


def select_votes(
    gate: Float[Array, "batch layers"],
    layer_rows: Float[Array, "batch layers patches"],
    keep_ratio: float,
) -> Bool[Array, "batch patches"]:
    """Returns the patches that occur in most of the best (layer, patch) pairs, ties by relevance.

    Choice: the option "votes" keeps N lambda patches; section 2.2.1 keeps L N lambda pairs.
    """
    votes = _best_pairs(gate, layer_rows, keep_ratio).sum(axis=1)
    fused = relevance(gate, layer_rows)
    return _keep_best(votes + 0.5 * fused / fused.max(axis=-1, keepdims=True), keep_ratio)


def _best_pairs(gate: Array, layer_rows: Array, keep_ratio: float) -> Array:
    gated = gate[:, :, None] * layer_rows
    return _keep_best(gated.reshape(gated.shape[0], -1), keep_ratio).reshape(gated.shape)


def _keep_best(values: Array, keep_ratio: float) -> Array:
    """Returns where the best values are, never zeros: products over heads may leave fewer."""
    return (values >= kth_largest(values, num_kept(values.shape[-1], keep_ratio))) & (values > 0)


SELECTIONS = MappingProxyType({"fused": select_fused, "union": select_union, "votes": select_votes})
