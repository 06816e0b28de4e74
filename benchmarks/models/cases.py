"""The models to time, on one trunk, and the FLOP that they need, 2 per multiply-add."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from aftrans_jax.config import Config
from aftrans_jax.experiment.model import build_model
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.branch_tokens import BranchTokens
from aftrans_jax.model.encoder import Observe, Select
from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.plain_vit import PlainViT
from aftrans_jax.model.variants import VARIANTS, Variant
from aftrans_jax.model.vit import ViT, class_feature
from benchmarks.models import trunks

Module = TypeVar("Module", bound=nn.Module)
NUM_CLASSES = 200  # as CUB has


class EveryTokenViT(ViT):
    """The trunk without the last block's shortcut, as published."""

    def encode(
        self,
        patches: Array,
        *,
        train: bool,
        branch_tokens: BranchTokens | None = None,
        all_tokens: bool = True,
        observe: Observe | None = None,
        select: Select | None = None,
    ) -> tuple[Array, list[Any]]:
        """Returns all tokens of the last block."""
        del all_tokens
        return super().encode(
            patches,
            train=train,
            branch_tokens=branch_tokens,
            all_tokens=True,
            observe=observe,
            select=select,
        )


class TwoPasses(AFTrans):
    """AFTrans without its side path: the local branch always sees the same corner of the image."""

    def __call__(self, images: Images, *, train: bool, boxes: Array | None = None) -> ModelOutput:
        """Returns both branches' logits and no region."""
        del boxes
        images = self.vit.normalize(images)
        crops = images[:, : self.local_size, : self.local_size]
        features: dict[str, Array] = {}
        branches = {"global": (images, self.vit.trunk_tokens()), "local": (crops, self.local())}
        for name, (pixels, branch_tokens) in branches.items():
            patches = self.vit.embed(pixels)
            tokens, _ = self.vit.encode(patches, train=train, branch_tokens=branch_tokens)
            features[name] = class_feature(tokens)
        logits = {name: self.vit.classify(feature) for name, feature in features.items()}
        return ModelOutput(logits, features, None)


def _as(kind: type[Module], module: nn.Module) -> Module:
    """Returns a module of another class with the same fields."""
    names = {field.name for field in dataclasses.fields(module)} - {"parent", "name"}
    return kind(**{name: getattr(module, name) for name in names})


def _aftrans(config: Config, dtype: jnp.dtype) -> AFTrans:
    model = build_model(config, NUM_CLASSES, dtype)
    assert isinstance(model, AFTrans)
    return model


def _plain(config: Config, dtype: jnp.dtype, size: str) -> PlainViT:
    config = config.copy_and_resolve_references()
    config.model.name = "vit"
    config.data.image_size = config.data[size]
    vit = build_model(config, NUM_CLASSES, dtype).vit
    return PlainViT(_as(EveryTokenViT, vit))


def _two_passes(config: Config, dtype: jnp.dtype) -> TwoPasses:
    return _as(TwoPasses, _aftrans(config, dtype))


def _on(kind: type[ViT], config: Config, dtype: jnp.dtype) -> AFTrans:
    model = _aftrans(config, dtype)
    return model.clone(vit=_as(kind, model.vit))


class Case(NamedTuple):
    """A model to time: how to make it, its branches, and how much of the last block runs.

    branches: keys in `config.data` with the sides of the images that the trunk sees.
    """

    make: Callable[[Config, jnp.dtype], nn.Module]
    branches: tuple[str, ...]
    every_token: bool


BOTH = ("image_size", "local_size")
CASES: Mapping[str, Case] = MappingProxyType(
    {
        "vit_local": Case(partial(_plain, size="local_size"), ("local_size",), True),
        "vit_global": Case(partial(_plain, size="image_size"), ("image_size",), True),
        "aftrans": Case(_aftrans, BOTH, False),
        "aftrans_every_token": Case(partial(_on, EveryTokenViT), BOTH, True),
        "naive": Case(partial(_on, trunks.NaiveViT), BOTH, True),
        "two_passes": Case(_two_passes, BOTH, False),
        **{
            name: Case(partial(_on, kind), BOTH, False)
            for name, kind in (
                ("fused_product", trunks.FusedProductViT),
                ("scanned", trunks.ScannedViT),
                ("remat", trunks.RematViT),
                ("remat_but_products", trunks.RematButProductsViT),
                ("float32_residual", trunks.Float32ResidualViT),
                ("convolution", trunks.ConvolutionViT),
            )
        },
    }
)


def flops(variant: Variant, image_size: int, stride: int, *, every_token: bool = True) -> int:
    """Returns the FLOP of one image's forward pass: products and attention.

    Args:
      variant: variant of the trunk.
      image_size: side of the image in pixels.
      stride: distance between patches in pixels.
      every_token: False counts keys and values of all tokens, and the rest of the last block only
        for the class token.
    """
    patches = variant.patches_per_side(image_size, stride) ** 2
    tokens = 1 + patches
    hidden = variant.hidden
    per_key = 2 * hidden * hidden  # key and value
    per_query = 2 * hidden * hidden + 2 * hidden * variant.mlp  # query, out, perceptron
    queries = tokens * (variant.layers - 1) + (tokens if every_token else 1)
    products = tokens * variant.layers * per_key + queries * (per_query + 2 * tokens * hidden)
    return 2 * (products + patches * 3 * variant.patch_size**2 * hidden)


def case_flops(case: Case, config: Config) -> int:
    """Returns the FLOP of one image's forward passes through all branches of a case."""
    sizes = (config.data[branch] for branch in case.branches)
    variant = VARIANTS[config.model.variant]
    stride = config.model.stride
    return sum(flops(variant, size, stride, every_token=case.every_token) for size in sizes)
