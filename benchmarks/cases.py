"""What is timed: models on one trunk, their FLOP, and a training step of each."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from aftrans_jax.config import Config
from aftrans_jax.experiment.model import build_model, build_optimizer
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.class_row import Descriptor
from aftrans_jax.model.encoder import BranchTokens, Encoded
from aftrans_jax.model.outputs import Images, ModelOutput
from aftrans_jax.model.variants import VARIANTS, Variant
from aftrans_jax.model.vit import Baseline, ViT
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.state import create_state
from aftrans_jax.training.train_step import train_step
from benchmarks import trunks
from benchmarks.timing import executable_bytes

Module = TypeVar("Module", bound=nn.Module)
NUM_CLASSES = 200  # as CUB has


class EveryTokenViT(ViT):
    """The trunk without the last block's shortcut, as it is published."""

    def encode(
        self,
        patches: Array,
        *,
        train: bool,
        own: BranchTokens | None = None,
        describe: Descriptor | None = None,
        all_tokens: bool = True,
    ) -> Encoded:
        """Returns all tokens of the last block."""
        del all_tokens
        return super().encode(patches, train=train, own=own, describe=describe, all_tokens=True)


class TwoPasses(AFTrans):
    """AFTrans without its side path: the local branch sees the image's corner, wherever."""

    def __call__(self, images: Images, *, train: bool) -> ModelOutput:
        """Returns both branches' logits and no region."""
        images = self.vit.normalize(images)
        crops = images[:, : self.local_size, : self.local_size]
        tokens: dict[str, Array] = {}
        own: BranchTokens | None
        for name, pixels, own in (("global", images, None), ("local", crops, self.local())):
            tokens[name] = self.vit.encode(self.vit.embed(pixels), train=train, own=own).tokens
        return ModelOutput({name: self.vit.classify(x) for name, x in tokens.items()}, None)


def _as(kind: type[Module], module: nn.Module) -> Module:
    """Returns a module of another class with the same fields."""
    names = {field.name for field in dataclasses.fields(module)} - {"parent", "name"}
    return kind(**{name: getattr(module, name) for name in names})


def _aftrans(config: Config, dtype: jnp.dtype) -> AFTrans:
    model = build_model(config, NUM_CLASSES, dtype)
    assert isinstance(model, AFTrans)
    return model


def _plain(config: Config, dtype: jnp.dtype, size: str) -> Baseline:
    config = config.copy_and_resolve_references()
    config.model.name, config.data.image_size = "vit", config.data[size]
    vit = build_model(config, NUM_CLASSES, dtype).vit
    return Baseline(_as(EveryTokenViT, vit))


def _two_passes(config: Config, dtype: jnp.dtype) -> TwoPasses:
    return _as(TwoPasses, _aftrans(config, dtype))


def _on(kind: type[ViT], config: Config, dtype: jnp.dtype) -> AFTrans:
    model = _aftrans(config, dtype)
    return model.clone(vit=_as(kind, model.vit))


class Case(NamedTuple):
    """A model to time: how it is made, the branches that it runs, and how much of the last block.

    branches: names in `config.data` of the sides of the images that the trunk sees.
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
        "fused_product": Case(partial(_on, trunks.FusedProductViT), BOTH, False),
        "scanned": Case(partial(_on, trunks.ScannedViT), BOTH, False),
        "remat": Case(partial(_on, trunks.RematViT), BOTH, False),
        "remat_but_products": Case(partial(_on, trunks.RematButProductsViT), BOTH, False),
        "float32_residual": Case(partial(_on, trunks.Float32ResidualViT), BOTH, False),
        "convolution": Case(partial(_on, trunks.ConvolutionViT), BOTH, False),
    }
)


def flops(variant: Variant, image_size: int, stride: int, *, every_token: bool = True) -> int:
    """Returns the FLOP of one image's forward pass: products and attention, 2 per multiply-add.

    Args:
      variant: of the trunk.
      image_size: side of the image in pixels.
      stride: distance between patches in pixels.
      every_token: False counts keys and values of all tokens and the rest of the last block for
        the class token alone.
    """
    patches = variant.patches_per_side(image_size, stride) ** 2
    tokens, hidden = 1 + patches, variant.hidden
    per_key = 2 * hidden * hidden  # key and value
    per_query = 2 * hidden * hidden + 2 * hidden * variant.mlp  # query, out, perceptron
    queries = tokens * (variant.layers - 1) + (tokens if every_token else 1)
    products = tokens * variant.layers * per_key + queries * (per_query + 2 * tokens * hidden)
    return 2 * (products + patches * 3 * variant.patch_size**2 * hidden)


def case_flops(case: Case, config: Config) -> int:
    """Returns the FLOP of one image's forward passes through all branches of a case."""
    sizes = (config.data[branch] for branch in case.branches)
    variant, stride = VARIANTS[config.model.variant], config.model.stride
    return sum(flops(variant, size, stride, every_token=case.every_token) for size in sizes)


def param_shapes(model: nn.Module, side: int) -> Any:
    """Returns the shapes of the parameters of a model of images of a side in pixels."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)["params"]


def random_params(model: nn.Module, side: int) -> Any:
    """Returns parameters of the size that training gives them, zeros of initialisers included."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        centre = 1 if path[-1].key == "scale" else 0
        return centre + np.float32(0.02) * rng.standard_normal(leaf.shape, np.float32)

    return jax.tree_util.tree_map_with_path(draw, param_shapes(model, side))


def random_batch(size: int, batch_size: int) -> dict[str, Array]:
    """Returns a batch as the loader yields it, on the device."""
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (batch_size, size, size, 3), np.uint8),
        "label": rng.integers(0, NUM_CLASSES, batch_size, np.int32),
        "mask": np.ones(batch_size, bool),
    }
    return jax.device_put(batch)


def step_function(
    model: nn.Module, optimizer: optax.GradientTransformation, config: Config
) -> Callable[..., Any]:
    """Returns the step that `aftrans_jax.main` runs, of state, batch and rng, for one device."""
    return partial(
        train_step,
        model=model,
        optimizer=optimizer,
        loss_weights={"global": config.loss.alpha, "local": config.loss.beta},
        predict_from="global",
        accumulation_steps=config.train.accumulation_steps,
        all_sum=lambda tree: tree,
    )


class Step:
    """A training step of a case, compiled; each call is one step further.

    Attributes:
      executable_bytes: what a call holds at most.
    """

    def __init__(
        self,
        case: Case,
        config: Config,
        batch_size: int,
        *,
        generator: str = "threefry2x32",
        compiler_options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Compiles the step that `aftrans_jax.main` runs, on one device.

        Args:
          case: what is trained.
          config: of the run.
          batch_size: of the one batch that every call gets.
          generator: of the random numbers, which dropout alone takes.
          compiler_options: XLA's, by name.
        """
        precision = PRECISIONS[config.train.precision]()
        model = case.make(config, precision.dtype)
        side = config.data[case.branches[0]]
        self._batch = random_batch(side, batch_size)
        _, optimizer = build_optimizer(config)
        state = create_state(random_params(model, side), optimizer, precision.loss_scale)
        # By way of the host: some counters are one array, which cannot be donated twice.
        self._state = jax.device_put(jax.device_get(state))
        self._rng = jax.random.key(0, impl=generator)
        step = jax.jit(step_function(model, optimizer, config), donate_argnums=0)
        lowered = step.lower(self._state, self._batch, self._rng)
        self._compiled = lowered.compile(compiler_options=dict(compiler_options))
        self.executable_bytes = executable_bytes(self._compiled)

    def __call__(self) -> Any:
        """Returns everything that the step makes, not awaited."""
        self._state, metrics = self._compiled(self._state, self._batch, self._rng)
        return self._state, metrics
