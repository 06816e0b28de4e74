"""Models by name, their initial parameters and the weights of their loss terms."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array

from aftrans_jax.config import Config
from aftrans_jax.experiment.weights_checks import (
    ImageSizes,
    check_class_names,
    check_variant,
    image_sizes,
    local_size_doubts,
    unsuited_parts,
)
from aftrans_jax.model.aftrans import AFTrans
from aftrans_jax.model.attention import KERNELS
from aftrans_jax.model.heads import HEADS
from aftrans_jax.model.plain_vit import PlainViT
from aftrans_jax.model.rams import RAMS
from aftrans_jax.model.transfg import TransFG
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.model.vit import ViT
from aftrans_jax.weights.fitting import fit_beside, fit_to_model, resize_positions
from aftrans_jax.weights.origins import disagreements
from aftrans_jax.weights.reading import Weights, open_weights

Model = AFTrans | PlainViT | TransFG | RAMS

ANNOTATED = "annotated"  # a value of `region.method`: the crop is the annotated box


class ModelKind(NamedTuple):
    """A kind of model.

    build: makes the model around its trunk.
    heads: names of the logits that can predict.
    default_head: which of these predicts where `eval.logits` is auto.
    registers: whether its trunk may have them; other models would take them for patches.
    """

    build: Callable[[Config, ViT], Model]
    heads: tuple[str, ...]
    default_head: str
    registers: bool

    @property
    def crops(self) -> bool:
        """Whether it has a local branch, which reads a crop."""
        return "local" in self.heads


def _region_method(config: Config) -> str:
    # The annotated box replaces the model's own, which is computed as usual.
    method = config.region.method
    return method if method != ANNOTATED else "largest_component"


def _aftrans(config: Config, vit: ViT) -> AFTrans:
    return AFTrans(
        vit=vit,
        local_size=config.data.local_size,
        keep_ratio=config.sacm.keep_ratio,
        reduction=config.sacm.reduction,
        min_box=config.region.min_box,
        head_fusion=config.sacm.head_fusion,
        descriptor=config.sacm.descriptor,
        selection=config.sacm.selection,
        gate=config.sacm.gate,
        region_method=_region_method(config),
        resample=config.region.resample,
        layers=tuple(config.sacm.layers),
    )


def _rams(config: Config, vit: ViT) -> RAMS:
    return RAMS(
        vit=vit,
        local_size=config.data.local_size,
        min_box=config.region.min_box,
        region_method=_region_method(config),
        resample=config.region.resample,
    )


_ONE_BRANCH = ("global",)

MODELS: Mapping[str, ModelKind] = MappingProxyType(
    {
        "aftrans": ModelKind(_aftrans, HEADS, "local", registers=True),
        "vit": ModelKind(lambda _, vit: PlainViT(vit), _ONE_BRANCH, "global", registers=True),
        "transfg": ModelKind(lambda _, vit: TransFG(vit), _ONE_BRANCH, "global", registers=False),
        "rams": ModelKind(_rams, HEADS, "sum", registers=False),
    }
)


def predicting_head(config: Config) -> str:
    """Returns the head that `eval.logits` names; for "auto" the model's own choice.

    With a single branch, "sum" means that branch's logits.
    """
    kind = MODELS[config.model.name]
    chosen = config.eval.logits
    if chosen == "auto" or (chosen == "sum" and kind.heads == _ONE_BRANCH):
        return kind.default_head
    return chosen


def build_model(config: Config, num_classes: int, dtype: jnp.dtype) -> Model:
    """Returns the model that `model.name` names: AFTrans, its trunk alone, or another on the trunk.

    Args:
      config: configuration of the run.
      num_classes: number of classes in the data.
      dtype: type of the computation; parameters are float32.

    Raises:
      ValueError: the variant has registers, which the model does not support.
    """
    kind = MODELS[config.model.name]
    variant = VARIANTS[config.model.variant]
    if variant.registers and not kind.registers:
        knowing = " or ".join(name for name, known in MODELS.items() if known.registers)
        raise ValueError(
            f"model.name={config.model.name!r} does not know registers, of which "
            f"model.variant={config.model.variant!r} has {variant.registers}: use "
            f"--config.model.name={knowing}, or weights without them"
        )
    vit = ViT(
        variant=variant,
        num_classes=num_classes,
        image_size=config.data.image_size,
        stride=config.model.stride,
        gelu=config.model.gelu,
        mean=tuple(config.data.mean),
        std=tuple(config.data.std),
        attention=KERNELS[config.model.attention],
        dropout=config.model.dropout,
        stochastic_depth=config.model.stochastic_depth,
        remat=config.model.remat,
        dtype=dtype,
    )
    return kind.build(config, vit)


def initial_params(
    config: Config, model: Model, class_names: Sequence[str] = ()
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the parameters before training, and notes on how pretrained ones were fitted.

    Args:
      config: configuration of the run.
      model: model that it describes.
      class_names: names of the data's classes; none: they are not known.

    Raises:
      FileNotFoundError, ValueError: from `weights.reading.open_weights` and
        `weights.fitting.fit_to_model`; or the head is to be kept and there is no file, or it is
        for other classes.

    Paper: section 3.2, weights of the official ViT-B/16, pretrained on ImageNet-21k.
    """
    size = config.data.source_size
    key = jax.random.key(config.seed)

    @jax.jit  # traced once, for the shapes and for the random values
    def init(key: Array) -> dict[str, Any]:
        images = jnp.zeros((1, size, size, 3), jnp.uint8)
        return flatten_dict(model.init(key, images, train=False)["params"], sep="/")

    known = {}
    notes = ("random weights: pretrained is empty",)
    keep_head = config.pretrained_head == "keep"
    if config.pretrained:
        # Opened first, so that a missing or damaged file is reported before anything is compiled.
        with open_weights(config.pretrained) as weights:
            check_variant(config.model.variant, weights.arrays)
            if keep_head and weights.whole:
                check_class_names(weights.whole.class_names, class_names)
            expected = unflatten_dict(jax.eval_shape(init, key), sep="/")
            unsuited = unsuited_parts(config, weights.whole)
            known, notes = _pretrained(weights, expected, keep_head, unsuited)
            if "local" in expected:
                file = image_sizes(weights)
                if weights.whole:
                    file = ImageSizes(weights.whole.local_size, weights.whole.local_size)
                notes += local_size_doubts(config.data.local_size, file)
        trained = weights.origin
        data = config.data
        doubts = disagreements(trained, gelu=config.model.gelu, mean=data.mean, std=data.std)
        notes = (*weights.notes, *notes, *doubts)
    elif keep_head:
        raise ValueError(
            "pretrained_head='keep': pretrained is empty, so there is no head to keep; set "
            "--config.pretrained=FILE.npz or --config.pretrained_head=new"
        )
    # Known parameters are not drawn: a compiled function does not compute what it does not return.
    drawn = jax.jit(lambda key: {name: x for name, x in init(key).items() if name not in known})
    return unflatten_dict({**jax.device_get(drawn(key)), **known}, sep="/"), notes


def blank_params(config: Config, model: Model) -> dict[str, Any]:
    """Returns zeros for all parameters, to be replaced by a checkpoint's."""
    size = config.data.source_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes["params"])


def _pretrained(
    weights: Weights, expected: Mapping[str, Any], keep_head: bool, unsuited: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns the weights' parameters by path, fitted to the expected shapes, and notes.

    The local branch's class token and positions start as the trunk's own, unless the weights are of
    a whole model that has some.
    """
    pretrained = fit_to_model(weights.arrays, expected["vit"], keep_head=keep_head)
    known = {"vit": pretrained.params}
    if "local" in expected:
        num_tokens = expected["local"]["pos_embedding"].shape[1]
        known["local"] = {
            "cls": pretrained.params["cls"],
            "pos_embedding": resize_positions(pretrained.positions, num_tokens),
        }
    beside = {}
    notes = ()
    if weights.whole:
        beside, notes = fit_beside(weights.whole.beside, expected, unsuited)
    return flatten_dict(known, sep="/") | beside, (*notes, *pretrained.notes)


def loss_weights(config: Config) -> dict[str, float]:
    """Returns the weights of the terms of the loss, by their names in `losses.loss_terms`."""
    loss = config.loss
    branches = {"global": loss.alpha, "local": loss.beta}
    return branches | {"distill": loss.distill, "contrastive": loss.contrastive}
