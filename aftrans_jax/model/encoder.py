"""Transformer encoder whose blocks can be observed, under the official npz names."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.attention import AttentionKernel
from aftrans_jax.model.variants import Variant

# Of a layer's queries and keys [batch tokens heads head_dim] to what a model wants to know of them.
Observe = Callable[[Array, Array], Any]
# Of the tokens and what was observed in the layers so far to the tokens of the last block.
Select = Callable[[Array, Sequence[Any]], Array]


class PositionEmbedding(nn.Module):
    """The learned position embedding [1 tokens hidden].

    Follows: vit_jax AddPositionEmbs.
    """

    num_tokens: int
    hidden: int

    @nn.compact
    def __call__(self) -> Float[Array, "1 tokens hidden"]:
        shape = (1, self.num_tokens, self.hidden)
        return self.param("pos_embedding", nn.initializers.normal(0.02), shape, jnp.float32)


class Attention(nn.Module):
    """Multi-head attention of queries to all tokens, and what was observed, if anything is to be.

    Follows: flax MultiHeadDotProductAttention, but for the exchangeable kernel.
    """

    heads: int
    kernel: AttentionKernel
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch queries hidden"],
        tokens: Float[Array, "batch tokens hidden"],
        observe: Observe | None,
    ) -> tuple[Float[Array, "batch queries hidden"], Any]:
        hidden = tokens.shape[-1]
        project = partial(
            nn.DenseGeneral,
            features=(self.heads, hidden // self.heads),
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
        )
        query = project(name="query")(queries)
        key = project(name="key")(tokens)
        value = project(name="value")(tokens)
        attended = self.kernel(query, key, value)
        out = nn.DenseGeneral(
            hidden,
            axis=(-2, -1),
            kernel_init=nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            name="out",
        )(attended)
        return out, None if observe is None else observe(query, key)


class MlpBlock(nn.Module):
    """The two-layer perceptron of an encoder block.

    Follows: vit_jax MlpBlock.
    """

    mlp: int
    gelu: Callable[[Array], Array]
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        dense = partial(
            nn.Dense,
            kernel_init=nn.initializers.xavier_uniform(),
            bias_init=nn.initializers.normal(1e-6),
            dtype=self.dtype,
        )
        y = self.gelu(dense(self.mlp, name="Dense_0")(x))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = dense(x.shape[-1], name="Dense_1")(y)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


_STATIC = (2, 3, 4)  # all arguments of a block but its tokens


@partial(nn.jit, static_argnums=_STATIC)  # equal blocks are traced once, a second less in a start
class EncoderBlock(nn.Module):
    """Attention, then a perceptron, each of normalised tokens and added to its input.

    Follows: vit_jax Encoder1DBlock; stochastic depth as big_vision drops residual branches.

    Choice: ViT's block, with layer norms and a residual around attention; eq. 2 and 3 omit them.
    """

    variant: Variant
    gelu: Callable[[Array], Array]
    attention: AttentionKernel
    dropout: float
    stochastic_depth: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "batch tokens hidden"],
        train: bool,
        observe: Observe | None,
        class_only: bool,
    ) -> tuple[Float[Array, "batch queries hidden"], Any]:
        # Whole residual branches drop per image, hence the broadcast over tokens and channels.
        drop_path = partial(
            nn.Dropout(self.stochastic_depth, broadcast_dims=(1, 2)), deterministic=not train
        )
        normed = nn.LayerNorm(dtype=self.dtype, name="LayerNorm_0")(tokens)
        kept = 1 if class_only else tokens.shape[1]
        attend = Attention(
            self.variant.heads, self.attention, self.dtype, name="MultiHeadDotProductAttention_1"
        )
        attended, observed = attend(normed[:, :kept], normed, observe)
        attended = nn.Dropout(self.dropout, deterministic=not train)(attended)
        tokens = tokens[:, :kept] + drop_path(attended)
        normed = nn.LayerNorm(dtype=self.dtype, name="LayerNorm_2")(tokens)
        mlp = MlpBlock(self.variant.mlp, self.gelu, self.dropout, self.dtype, name="MlpBlock_3")
        return tokens + drop_path(mlp(normed, train=train)), observed


_recomputed = partial(nn.remat, static_argnums=_STATIC)

# What the backward pass finds of a block in memory, by the name of what it computes again: nothing
# but its input, or the products with parameters.
REMATS: Mapping[str, Callable[[type[EncoderBlock]], type[EncoderBlock]]] = MappingProxyType(
    {
        "none": lambda block: block,
        "blocks": _recomputed,
        "products": partial(
            _recomputed, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        ),
    }
)


class Encoder(nn.Module):
    """All blocks, the last norm, and what was observed in each layer, from first to last.

    Unless `all_tokens` asks for more, the last block computes only keys and values for all tokens
    and the rest for the class token alone; its output is the same. `select` chooses or changes the
    tokens that enter the last block. What was observed is returned, never sown.

    Follows: vit_jax Encoder.
    """

    variant: Variant
    num_tokens: int
    gelu: Callable[[Array], Array]
    attention: AttentionKernel
    dropout: float
    stochastic_depth: float
    remat: str
    dtype: jnp.dtype

    def setup(self) -> None:
        """Makes the blocks, in which stochastic depth grows from layer to layer."""
        self.posembed_input = PositionEmbedding(self.num_tokens, self.variant.hidden)
        last = max(self.variant.layers - 1, 1)
        block = REMATS[self.remat](EncoderBlock)
        self.encoderblock = [
            block(
                self.variant,
                self.gelu,
                self.attention,
                self.dropout,
                self.stochastic_depth * i / last,
                self.dtype,
            )
            for i in range(self.variant.layers)
        ]
        self.encoder_norm = nn.LayerNorm(dtype=self.dtype)
        self.embedding_dropout = nn.Dropout(self.dropout)

    def __call__(
        self,
        tokens: Float[Array, "batch tokens hidden"],
        *,
        train: bool,
        all_tokens: bool,
        observe: Observe | None = None,
        select: Select | None = None,
    ) -> tuple[Array, list[Any]]:
        """Returns the last layer's tokens, normalised, and what was observed of each layer."""
        tokens = self.embedding_dropout(tokens, deterministic=not train)
        layers = []
        for block in self.encoderblock:
            is_last = block is self.encoderblock[-1]
            if is_last and select is not None:
                tokens = select(tokens, layers)
            class_only = is_last and not all_tokens
            tokens, observed = block(tokens, train, observe, class_only)
            layers.append(observed)
        return self.encoder_norm(tokens), layers
