"""Other ways to run the same trunk, for comparison with the one that is trained.

Parameters and function are the model's own, except for dropout. `NaiveViT` stores all attention
maps; the others are options, whose measurements are in `claims/options.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.attention import scores
from aftrans_jax.model.branch_tokens import BranchTokens
from aftrans_jax.model.class_row import class_row_descriptor
from aftrans_jax.model.encoder import EncoderBlock, MlpBlock, Observe, Select
from aftrans_jax.model.patches import embed_by_convolution
from aftrans_jax.model.vit import GELUS, ViT

Tree = Mapping[str, Any]
Trees = Sequence[Tree]
Watch = Observe | None
Layer = tuple[Array, Any]  # tokens after a layer, and its observations
Layers = tuple[Array, list[Any]]


class LayeredViT(ViT):
    """The trunk as a function of each layer's parameters; subclasses change how a layer runs."""

    def encode(
        self,
        patches: Float[Array, "batch patches hidden"],
        *,
        train: bool,
        branch_tokens: BranchTokens | None = None,
        all_tokens: bool = False,
        observe: Observe | None = None,
        select: Select | None = None,
    ) -> Layers:
        """Returns the same as `ViT.encode`.

        Raises:
          ValueError: dropout or stochastic depth is asked for, or a selection of tokens.
        """
        if self.is_initializing():
            return super().encode(
                patches, train=train, branch_tokens=branch_tokens, observe=observe
            )
        if select is not None:
            self.refuse(f"{select}", "no selection of tokens")
        if self.dropout or self.stochastic_depth:
            self.refuse(f"dropout={self.dropout}, stochastic_depth={self.stochastic_depth}", "0, 0")
        params = self.Transformer.variables["params"]
        layers = [params[f"encoderblock_{layer}"] for layer in range(self.variant.layers)]
        tokens = self.with_class_token(patches, branch_tokens)
        tokens, observed = self.run(layers, tokens, observe, all_tokens)
        return self.norm(params["encoder_norm"], tokens), observed

    def run(self, layers: Trees, tokens: Array, observe: Watch, all_tokens: bool) -> Layers:
        """Returns the tokens after all layers, and the observations in each."""
        all_observed = []
        for layer in layers:
            class_only = layer is layers[-1] and not all_tokens
            tokens, observed = self.block(layer, tokens, observe, class_only)
            all_observed.append(observed)
        return tokens, all_observed

    def block(self, params: Tree, tokens: Array, observe: Watch, class_only: bool) -> Layer:
        """Returns the tokens after an encoder block, and its observations."""
        block = EncoderBlock(
            self.variant, GELUS[self.gelu], self.attention, 0.0, 0.0, self.dtype, parent=None
        )
        return cast(Any, block.apply({"params": params}, tokens, False, observe, class_only))

    def norm(self, params: Tree, tokens: Array) -> Array:
        """Returns normalised tokens."""
        return cast(
            Array, nn.LayerNorm(dtype=self.dtype, parent=None).apply({"params": params}, tokens)
        )

    def refuse(self, found: str, expected: str) -> NoReturn:
        """Raises a ValueError that names what this way to run the trunk does not support."""
        raise ValueError(
            f"{found}: expected {expected}. {type(self).__name__} has no others: leave them out of "
            "the comparison"
        )


class WrittenOutViT(LayeredViT):
    """The trunk with an encoder block's arithmetic written out."""

    def block(self, params: Tree, tokens: Array, observe: Watch, class_only: bool) -> Layer:
        projections = params["MultiHeadDotProductAttention_1"]
        normed = self.norm(params["LayerNorm_0"], tokens)
        kept = 1 if class_only else tokens.shape[1]
        query, key, value = self.project(projections, normed[:, :kept], normed)
        attended, observed = self.attend(query, key, value, observe)
        out = nn.DenseGeneral(tokens.shape[-1], axis=(-2, -1), dtype=self.dtype, parent=None)
        tokens = tokens[:, :kept] + cast(Array, out.apply({"params": projections["out"]}, attended))
        mlp = MlpBlock(self.variant.mlp, GELUS[self.gelu], 0.0, self.dtype, parent=None)
        normed = self.norm(params["LayerNorm_2"], tokens)
        tokens += cast(Array, mlp.apply({"params": params["MlpBlock_3"]}, normed, train=False))
        return tokens, observed

    def project(self, params: Tree, queries: Array, tokens: Array) -> tuple[Array, Array, Array]:
        """Returns query, key and value [batch tokens heads head_dim]."""
        features = (self.variant.heads, self.variant.hidden // self.variant.heads)
        dense = nn.DenseGeneral(features, dtype=self.dtype, parent=None)
        named = (("query", queries), ("key", tokens), ("value", tokens))
        query, key, value = (dense.apply({"params": params[name]}, x) for name, x in named)
        return cast(Any, (query, key, value))

    def attend(self, query: Array, key: Array, value: Array, observe: Watch) -> Layer:
        """Returns attended queries and observations."""
        attended = self.attention(query, key, value)
        return attended, None if observe is None else observe(query, key)


class NaiveViT(WrittenOutViT):
    """The trunk that stores every attention map.

    Each layer's softmax maps are complete arrays [batch heads tokens tokens], as in equation 5; the
    class rows are read from them, and they stay in memory for the backward pass. Neither a fused
    kernel nor the last block's shortcut is used.
    """

    def run(self, layers: Trees, tokens: Array, observe: Watch, all_tokens: bool) -> Layers:
        del all_tokens
        describe = getattr(observe, "describe", None)  # of a `Summary`
        if observe is not None and describe is not class_row_descriptor:
            self.refuse(f"{describe}", "class_row_descriptor")
        return super().run(layers, tokens, observe, all_tokens=True)

    def attend(self, query: Array, key: Array, value: Array, observe: Watch) -> Layer:
        maps = jax.nn.softmax(scores(query, key, "bqhd,bkhd->bhqk"), axis=-1).astype(self.dtype)
        attended = jnp.einsum("bhqk,bkhd->bqhd", maps, value)
        if observe is None:
            return attended, None
        # Below the smallest normal number the logarithm would be undefined.
        row = jnp.maximum(maps[:, :, 0, 1:].astype(jnp.float32), jnp.finfo(jnp.float32).tiny)
        log_row = jnp.log(jax.lax.stop_gradient(row))
        return attended, (log_row, class_row_descriptor(query, key, log_row))


class FusedProductViT(WrittenOutViT):
    """The trunk with one product for queries, keys and values, of concatenated kernels."""

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

    def run(self, layers: Trees, tokens: Array, observe: Watch, all_tokens: bool) -> Layers:
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers[:-1])

        def body(tokens: Array, layer: Tree) -> Layer:
            return self.block(layer, tokens, observe, False)

        tokens, first = jax.lax.scan(body, tokens, stacked)
        tokens, last = self.block(layers[-1], tokens, observe, not all_tokens)
        each = [jax.tree.map(lambda x, i=i: x[i], first) for i in range(len(layers) - 1)]
        return tokens, [*each, last]


class RematViT(LayeredViT):
    """The trunk that only stores a block's input, and recomputes the block in the backward pass."""

    def block(self, params: Tree, tokens: Array, observe: Watch, class_only: bool) -> Layer:
        block = partial(super().block, observe=observe, class_only=class_only)
        return jax.checkpoint(block, policy=self.policy())(params, tokens)

    def policy(self) -> Callable[..., bool] | None:
        """Returns which results are stored beside the inputs."""
        return None


class RematButProductsViT(RematViT):
    """The trunk that stores the results of products with parameters, and recomputes the rest."""

    def policy(self) -> Callable[..., bool] | None:
        return jax.checkpoint_policies.dots_with_no_batch_dims_saveable


class Float32ResidualViT(LayeredViT):
    """The trunk whose residual stream is float32 while its blocks compute in half precision."""

    def run(self, layers: Trees, tokens: Array, observe: Watch, all_tokens: bool) -> Layers:
        return super().run(layers, tokens.astype(jnp.float32), observe, all_tokens)


class ConvolutionViT(ViT):
    """The trunk that embeds its patches by a strided convolution."""

    def embed(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patches hidden"]:
        """Returns the patch embeddings of normalised images, in raster order."""
        if self.is_initializing():
            return super().embed(images)
        params = self.embedding.variables["params"]
        kernel, bias = (params[name].astype(self.dtype) for name in ("kernel", "bias"))
        return embed_by_convolution(images.astype(self.dtype), kernel, self.stride) + bias
