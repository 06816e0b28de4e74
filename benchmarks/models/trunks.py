"""Other ways to run the same trunk: what the one that is trained is compared with.

Parameters and function are the model's own, dropout apart. `NaiveViT` stores all attention maps;
the others are options that were measured, `claims/options.py` says with what result.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.attention import scores
from aftrans_jax.model.class_row import (
    Descriptor,
    Summary,
    class_row_descriptor,
    summarize,
    summarizer,
)
from aftrans_jax.model.encoder import BranchTokens, Encoded, EncoderBlock, MlpBlock, encoded
from aftrans_jax.model.patches import embed_by_convolution
from aftrans_jax.model.vit import GELUS, ViT

Tree = Mapping[str, Any]
Trees = Sequence[Tree]
Describe = Descriptor | None
Layer = tuple[Array, Summary | None]  # tokens after a layer, what it says of its class row
Layers = tuple[Array, list[Summary | None]]


class LayeredViT(ViT):
    """The trunk as a function of each layer's parameters, for others to change how a layer runs."""

    def encode(
        self,
        patches: Float[Array, "batch patches hidden"],
        *,
        train: bool,
        own: BranchTokens | None = None,
        describe: Descriptor | None = None,
        all_tokens: bool = False,
    ) -> Encoded:
        """Returns what `ViT.encode` returns.

        Raises:
          ValueError: dropout or stochastic depth is asked for.
        """
        if self.is_initializing():
            return super().encode(patches, train=train, own=own, describe=describe)
        if self.dropout or self.stochastic_depth:
            self.refuse(f"dropout={self.dropout}, stochastic_depth={self.stochastic_depth}", "0, 0")
        params = self.Transformer.variables["params"]
        layers = [params[f"encoderblock_{layer}"] for layer in range(self.variant.layers)]
        tokens = self.with_class_token(patches, own)
        tokens, summaries = self.run(layers, tokens, describe, all_tokens)
        return encoded(self.norm(params["encoder_norm"], tokens), summaries)

    def run(self, layers: Trees, tokens: Array, describe: Describe, all_tokens: bool) -> Layers:
        """Returns the tokens after all layers, and what each layer says of its class row."""
        summaries = []
        for layer in layers:
            class_only = layer is layers[-1] and not all_tokens
            tokens, summary = self.block(layer, tokens, describe, class_only)
            summaries.append(summary)
        return tokens, summaries

    def block(self, params: Tree, tokens: Array, describe: Describe, class_only: bool) -> Layer:
        """Returns what an encoder block returns."""
        block = EncoderBlock(
            self.variant, GELUS[self.gelu], self.attention, 0.0, 0.0, self.dtype, parent=None
        )
        settings: dict[str, Any] = {"observe": summarizer(describe, 1), "class_only": class_only}
        return cast(Any, block.apply({"params": params}, tokens, train=False, **settings))

    def norm(self, params: Tree, tokens: Array) -> Array:
        """Returns normalised tokens."""
        return cast(
            Array, nn.LayerNorm(dtype=self.dtype, parent=None).apply({"params": params}, tokens)
        )

    def refuse(self, found: str, expected: str) -> NoReturn:
        """Raises a ValueError that names what this way to run the trunk has not."""
        raise ValueError(
            f"{found}: expected {expected}. {type(self).__name__} has no others: leave them out of "
            "the comparison"
        )


class WrittenOutViT(LayeredViT):
    """The trunk with an encoder block's arithmetic in view."""

    def block(self, params: Tree, tokens: Array, describe: Describe, class_only: bool) -> Layer:
        projections = params["MultiHeadDotProductAttention_1"]
        normed = self.norm(params["LayerNorm_0"], tokens)
        kept = 1 if class_only else tokens.shape[1]
        query, key, value = self.project(projections, normed[:, :kept], normed)
        attended, summary = self.attend(query, key, value, describe)
        out = nn.DenseGeneral(tokens.shape[-1], axis=(-2, -1), dtype=self.dtype, parent=None)
        tokens = tokens[:, :kept] + cast(Array, out.apply({"params": projections["out"]}, attended))
        mlp = MlpBlock(self.variant.mlp, GELUS[self.gelu], 0.0, self.dtype, parent=None)
        normed = self.norm(params["LayerNorm_2"], tokens)
        tokens += cast(Array, mlp.apply({"params": params["MlpBlock_3"]}, normed, train=False))
        return tokens, summary

    def project(self, params: Tree, queries: Array, tokens: Array) -> tuple[Array, Array, Array]:
        """Returns query, key and value [batch tokens heads head_dim]."""
        features = (self.variant.heads, self.variant.hidden // self.variant.heads)
        dense = nn.DenseGeneral(features, dtype=self.dtype, parent=None)
        named = (("query", queries), ("key", tokens), ("value", tokens))
        query, key, value = (dense.apply({"params": params[name]}, x) for name, x in named)
        return cast(Any, (query, key, value))

    def attend(self, query: Array, key: Array, value: Array, describe: Describe) -> Layer:
        """Returns attended queries and what an encoder block says of the class row."""
        summary = None if describe is None else summarize(query, key, describe)
        return self.attention(query, key, value), summary


class NaiveViT(WrittenOutViT):
    """The trunk that stores every attention map.

    Each layer's softmax maps are whole arrays [batch heads tokens tokens], as equation 5 is
    written; the class rows are read from them, and the backward pass finds all of them in memory.
    Neither a fused kernel nor the last block's shortcut is used.
    """

    def run(self, layers: Trees, tokens: Array, describe: Describe, all_tokens: bool) -> Layers:
        del all_tokens
        if describe not in (None, class_row_descriptor):
            self.refuse(f"{describe}", "class_row_descriptor")
        return super().run(layers, tokens, describe, all_tokens=True)

    def attend(self, query: Array, key: Array, value: Array, describe: Describe) -> Layer:
        maps = jax.nn.softmax(scores(query, key, "bqhd,bkhd->bhqk"), axis=-1).astype(self.dtype)
        attended = jnp.einsum("bhqk,bkhd->bqhd", maps, value)
        if describe is None:
            return attended, None
        # Below the smallest normal number there is nothing left to take a logarithm of.
        row = jnp.maximum(maps[:, :, 0, 1:].astype(jnp.float32), jnp.finfo(jnp.float32).tiny)
        log_row = jnp.log(jax.lax.stop_gradient(row))
        return attended, (log_row, describe(query, key, log_row))


class FusedProductViT(WrittenOutViT):
    """The trunk with one product for queries, keys and values, of kernels put side by side."""

    def project(self, params: Tree, queries: Array, tokens: Array) -> tuple[Array, Array, Array]:
        if queries.shape != tokens.shape:
            return super().project(params, queries, tokens)
        parts = [params[name] for name in ("query", "key", "value")]
        fused = {
            name: jnp.stack([part[name] for part in parts], axis=-3 if name == "kernel" else 0)
            for name in ("kernel", "bias")
        }
        dense = nn.DenseGeneral(fused["bias"].shape, dtype=self.dtype, parent=None)
        product = cast(Array, dense.apply({"params": fused}, tokens))
        query, key, value = (product[:, :, i] for i in range(3))
        return query, key, value


class ScannedViT(LayeredViT):
    """The trunk with one compiled block, run over the stacked parameters of all but the last."""

    def run(self, layers: Trees, tokens: Array, describe: Describe, all_tokens: bool) -> Layers:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers[:-1])

        def body(tokens: Array, layer: Tree) -> Layer:
            return self.block(layer, tokens, describe, False)

        tokens, first = jax.lax.scan(body, tokens, stacked)
        tokens, last = self.block(layers[-1], tokens, describe, not all_tokens)
        each = [jax.tree.map(lambda x, i=i: x[i], first) for i in range(len(layers) - 1)]
        return tokens, [*each, last]


class RematViT(LayeredViT):
    """The trunk that keeps a block's input alone, and computes the block again going backward."""

    def block(self, params: Tree, tokens: Array, describe: Describe, class_only: bool) -> Layer:
        block = partial(super().block, describe=describe, class_only=class_only)
        return jax.checkpoint(block, policy=self.policy())(params, tokens)

    def policy(self) -> Callable[..., bool] | None:
        """Returns what is kept beside the inputs."""
        return None


class RematButProductsViT(RematViT):
    """The trunk that keeps the results of products with parameters, and computes the rest again."""

    def policy(self) -> Callable[..., bool] | None:
        return jax.checkpoint_policies.dots_with_no_batch_dims_saveable


class Float32ResidualViT(LayeredViT):
    """The trunk whose residual stream is float32 while its blocks compute in half precision."""

    def run(self, layers: Trees, tokens: Array, describe: Describe, all_tokens: bool) -> Layers:
        return super().run(layers, tokens.astype(jnp.float32), describe, all_tokens)


class ConvolutionViT(ViT):
    """The trunk that embeds its patches by a strided convolution."""

    def embed(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patches hidden"]:
        """Returns the patch embeddings of normalised images, in raster order."""
        if self.is_initializing():
            return super().embed(images)
        embedding = self.embedding.clone(embed=embed_by_convolution, parent=None, name=None)
        return cast(Array, embedding.apply(self.embedding.variables, images))
