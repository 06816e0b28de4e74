"""Products of the layers' attention maps: a row vector times one map after another.

Only one row of such a product is ever read. So it is computed from the last layer to the first, and
each map [batch heads tokens tokens] is made anew from its layer's queries and keys when its turn
comes: the product of whole maps would take as many multiplications for every token.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from aftrans_jax.model.attention import scores


class Projections(NamedTuple):
    """A layer's queries [batch queries heads head_dim] and keys [batch tokens heads head_dim]."""

    query: Array
    key: Array


def projections(
    query: Float[Array, "batch queries heads head_dim"],
    key: Float[Array, "batch tokens heads head_dim"],
) -> Projections:
    """Returns both without their gradient: what is chosen by a map is piecewise constant in it."""
    return Projections(*jax.lax.stop_gradient((query, key)))


def attention_maps(layer: Projections) -> Float[Array, "batch heads queries tokens"]:
    """Returns a layer's attention of its queries to every token, per head, in float32."""
    return jax.nn.softmax(scores(layer.query, layer.key, "bqhd,bkhd->bhqk"), axis=-1)
