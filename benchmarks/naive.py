"""The trunk that stores every attention map: what the fast path is compared with, never trained.

Each layer's softmax maps are whole arrays [batch heads tokens tokens]. The class rows are read
from them when the last layer is done, and the backward pass finds all of them in memory. Neither
a fused kernel nor the last block's shortcut is used. Parameters, and all that is not attention,
are the model's own.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.attention import Descriptor, class_row_descriptor
from aftrans_jax.model.encoder import BranchTokens, Encoded, MlpBlock
from aftrans_jax.model.vit import GELUS, ViT

Tree = Mapping[str, Any]


class NaiveViT(ViT):
    """The same function of the same parameters as `ViT`, dropout apart, with all maps stored.

    Choice: standing in for the trunk alone leaves the rest of AFTrans as it is.
    """

    def encode(
        self,
        patches: Float[Array, "batch patches hidden"],
        *,
        train: bool,
        own: BranchTokens | None = None,
        describe: Descriptor | None = None,
        all_tokens: bool = False,
    ) -> Encoded:
        """Returns what `ViT.encode` returns, the class rows taken from the stored maps.

        Raises:
          ValueError: dropout, stochastic depth or a descriptor other than "class_row" is asked for.

        Paper: eq. 5, to the letter.
        """
        if self.is_initializing():
            return super().encode(patches, train=train, own=own, describe=describe)
        if self.dropout or self.stochastic_depth or describe not in (None, class_row_descriptor):
            raise ValueError(
                f"dropout={self.dropout}, stochastic_depth={self.stochastic_depth} and {describe}: "
                "expected 0, 0 and class_row_descriptor. The naive path has no others: leave them "
                "out of the comparison"
            )
        del train, all_tokens
        tokens = self.with_class_token(patches, own)
        params, maps = self.Transformer.variables["params"], []
        for layer in range(self.variant.layers):
            tokens, attention = self._block(params[f"encoderblock_{layer}"], tokens)
            maps.append(attention)
        tokens = self._norm(params["encoder_norm"], tokens)
        if describe is None:
            return Encoded(tokens, None, None)
        return Encoded(tokens, *_class_rows(maps))

    def _block(self, params: Tree, tokens: Array) -> tuple[Array, Array]:
        """Returns the tokens after one block, and its attention [batch heads tokens tokens]."""
        dense = partial(nn.DenseGeneral, dtype=self.dtype, parent=None)
        projection = params["MultiHeadDotProductAttention_1"]
        normed = self._norm(params["LayerNorm_0"], tokens)
        head_dim = self.variant.hidden // self.variant.heads
        query, key, value = (
            dense((self.variant.heads, head_dim)).apply({"params": projection[name]}, normed)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        attention = jax.nn.softmax(scores * head_dim**-0.5, axis=-1).astype(self.dtype)
        attended = jnp.einsum("bhqk,bkhd->bqhd", attention, value)
        out = dense(self.variant.hidden, axis=(-2, -1))
        tokens += cast(Array, out.apply({"params": projection["out"]}, attended))
        mlp = MlpBlock(self.variant.mlp, GELUS[self.gelu], 0.0, self.dtype, parent=None)
        normed = self._norm(params["LayerNorm_2"], tokens)
        tokens += cast(Array, mlp.apply({"params": params["MlpBlock_3"]}, normed, train=False))
        return tokens, attention

    def _norm(self, params: Tree, tokens: Array) -> Array:
        norm = nn.LayerNorm(dtype=self.dtype, parent=None)
        return cast(Array, norm.apply({"params": params}, tokens))


def _class_rows(maps: list[Array]) -> tuple[Array, Array]:
    """Returns log class rows [batch layers heads patches] and the mean of their product's log."""
    rows = jnp.stack([attention[:, :, 0, 1:] for attention in maps], axis=1)
    # Below the smallest normal number there is nothing left to take a logarithm of.
    rows = jnp.maximum(rows.astype(jnp.float32), jnp.finfo(jnp.float32).tiny)
    log_rows = jnp.log(jax.lax.stop_gradient(rows))
    return log_rows, log_rows.sum(axis=2).mean(axis=-1)
