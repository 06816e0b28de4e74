"""The part of a layer's attention that the SACM needs: the class token's row, in log space.

It takes one dot product per key and head, from the queries and keys that the layer has anyway,
whatever kernel computes the attention. No tokens x tokens array is stored.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.attention import scores

# Queries taken at a time when every row's normaliser is wanted: bounds the transient memory.
QUERY_CHUNK = 128

Descriptor = Callable[[Array, Array, Array], Array]


class Summary(NamedTuple):
    """A function of a layer's queries and keys to its log class rows and their descriptor.

    Two with equal fields are equal, unlike two `functools.partial`: what `nn.jit` has compiled for
    one serves the other.

    Attributes:
      describe: one of `DESCRIPTORS`.
      first_patch: its number among the tokens; class token and registers are before it.
    """

    describe: Descriptor
    first_patch: int = 1

    def __call__(
        self, query: Array, key: Array
    ) -> tuple[Float[Array, "batch heads patches"], Float[Array, " batch"]]:
        """Returns log class rows and descriptor; no gradient flows through either.

        Args:
          query: queries of all tokens, or of the first alone, [batch queries heads head_dim].
          key: keys of all tokens, [batch tokens heads head_dim].

        Choice: no gradient passes through the SACM's maps to the trunk; the paper is silent.
        """
        query, key = jax.lax.stop_gradient((query, key))
        log_row = log_class_row(query, key, self.first_patch)
        return log_row, self.describe(query, key, log_row)


def log_class_row(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    first_patch: int = 1,
) -> Float[Array, "batch heads patches"]:
    """Returns the class token's log attention to every patch, per head, in float32.

    The softmax runs over all tokens; the entries of the class token itself (token 0) and of
    registers are then dropped, so each row of `exp` sums to one minus the attention to those.

    Choice: only the class token's row of eq. 5's map, in log space; the selection reads no other.
    """
    precision = "highest" if query.dtype == jnp.float32 else None  # of 16 bits they are exact
    row = scores(query[:, 0], key, "bhd,bkhd->bhk", precision)
    return jax.nn.log_softmax(row, axis=-1)[..., first_patch:]


def class_row_descriptor(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    log_row: Float[Array, "batch heads patches"],
) -> Float[Array, " batch"]:
    """Returns the mean over patches of the class row's log product over heads.

    Choice: the log class row is averaged; eq. 9 averages a whole product, which underflows.
    """
    del query, key
    return log_row.sum(axis=1).mean(axis=-1)


def full_map_descriptor(
    query: Float[Array, "batch tokens heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
    log_row: Float[Array, "batch heads patches"],
) -> Float[Array, " batch"]:
    """Returns the mean over all query-key pairs of the log product over heads.

    It is `mean(q) . mean(k) * scale - mean(lse)`, summed over heads, where lse is the log of a
    query's softmax denominator. Scores are formed for `QUERY_CHUNK` queries at a time.

    Paper: the pooling of eq. 9, of logarithms.
    """
    del log_row
    mean_query, mean_key = (x.astype(jnp.float32).mean(axis=1) for x in (query, key))
    mean_score = (mean_query * mean_key).sum(axis=(1, 2)) * query.shape[-1] ** -0.5
    num_tokens = query.shape[1]
    starts = range(0, num_tokens, QUERY_CHUNK)
    chunks = [scores(query[:, i : i + QUERY_CHUNK], key, "bqhd,bkhd->bhqk") for i in starts]
    log_norms = [jax.nn.logsumexp(chunk, axis=-1).sum(axis=(1, 2)) for chunk in chunks]
    return mean_score - sum(log_norms[1:], log_norms[0]) / num_tokens


DESCRIPTORS = MappingProxyType({"class_row": class_row_descriptor, "full_map": full_map_descriptor})
