"""Checks that a file of weights is a ViT's and suits the configured model, with remedies."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from aftrans_jax.config import Config
from aftrans_jax.data.names import composed
from aftrans_jax.model.variants import VARIANTS, Variant
from aftrans_jax.model.vit import ViT
from aftrans_jax.weights.arrays import CONVERT, AnyArrays, misfits
from aftrans_jax.weights.fitting import sizes, trained_size
from aftrans_jax.weights.layouts import POSITIONS
from aftrans_jax.weights.reading import Weights
from aftrans_jax.weights.whole_models import WholeModel

_OPTIONAL = ("head/", "pre_logits/")
_OF_GATES = ("sacm.descriptor", "sacm.head_fusion", "sacm.layers")
_LARGEST = 256  # px; DINOv2's 518 are 1,369 patches, five times those of 224


class ImageSizes(NamedTuple):
    """Sides in px of a file's training images, and of those that it reads by default.

    Both are None where the file does not tell.
    """

    trained: int | None
    default: int | None


def image_sizes(weights: Weights) -> ImageSizes:
    """Returns the image sizes of a file.

    The default is what it was trained at, but above 256 px the multiple of a patch that is nearest
    to 224; a size that this package recorded in the file stays.
    """
    if recorded := weights.origin.size:
        return ImageSizes(recorded, recorded)
    trained = trained_size(weights.arrays)
    variant = sizes(weights.arrays)
    if trained is None or variant is None or trained <= _LARGEST:
        return ImageSizes(trained, trained)
    return ImageSizes(trained, round(224 / variant.patch_size) * variant.patch_size)


def local_size_doubts(local_size: int, file: ImageSizes) -> tuple[str, ...]:
    """Returns a line where the local branch reads at another size than the file was trained at.

    There is none for a file of larger images than it reads by default.

    Args:
      local_size: side of the local branch's images in px.
      file: image sizes of the file.
    """
    trained = file.trained
    if trained in (None, local_size) or trained != file.default:
        return ()
    return (
        f"data.local_size is {local_size}: the file was trained at {trained} px, at "
        f"which a crop gains most; set --config.data.local_size={trained}",
    )


def unsuited_parts(config: Config, whole: WholeModel | None) -> dict[str, str]:
    """Returns by name why parts of a whole model do not suit a configuration even where they fit.

    A SACM does not where its gates were learned on other rows of attention.
    """
    if whole is None:
        return {}
    every = tuple(range(1, VARIANTS[config.model.variant].layers + 1))

    def plain(value: Any) -> Any:
        return value if isinstance(value, str) else tuple(value) or every

    trained = {key: whole.settings.get(key) for key in _OF_GATES}
    odd = [
        f"{key}={tuple(value) if isinstance(value, list) else value}"
        for key, value in trained.items()
        if isinstance(value, (str, list)) and plain(value) != plain(config[key])
    ]
    return {"sacm": f"it was trained with {', '.join(odd)}"} if odd else {}


def check_class_names(file: Sequence[str], data: Sequence[str]) -> None:
    """Checks that a head that is kept is for the data's classes, if there are as many.

    Raises:
      ValueError: a name differs, or the order.
    """
    if len(file) != len(data):
        return  # told with the head, or the data's names are not known
    for own, name in zip(file, data, strict=True):
        if composed(own) != composed(name):
            raise ValueError(
                f"pretrained_head='keep': the file's head is for {own!r} where the data has "
                f"{name!r}: expected the same classes in the same order. Use "
                "--config.pretrained_head=new"
            )


def check_whole(arrays: AnyArrays) -> None:
    """Checks that arrays are a plain ViT's, with or without a head, registers and `pre_logits`.

    Args:
      arrays: arrays by official name; none is read.

    Raises:
      ValueError: some are missing, not expected, or of a shape that contradicts the others.
    """
    found = sizes(arrays)
    if found is None:
        raise ValueError(
            "it has no embedding/kernel of patches beside a block 0 of three-dimensional queries: "
            "expected a plain ViT"
        )
    positions = arrays[POSITIONS].shape if POSITIONS in arrays else ()
    tokens = positions[1] if len(positions) == 3 else 0
    leaves: dict[str, Any] = flatten_dict(_parameters(found), sep="/")
    shapes, wanted = (
        {name: x.shape for name, x in tree.items() if not name.startswith(_OPTIONAL)}
        for tree in (arrays, leaves)
    )
    if odd := misfits(shapes, wanted | {POSITIONS: (1, tokens, found.hidden)}):
        raise ValueError(
            f"it is not the whole of a plain ViT of {found.layers} layers; {odd}. Make the file "
            "again from its source"
        )


def _parameters(variant: Variant) -> dict[str, Any]:
    """Returns the shapes of the parameters of a trunk that sees one patch."""
    patch = variant.patch_size
    half = (0.5, 0.5, 0.5)
    vit = ViT(variant, 1, patch, patch, "tanh", half, half, attention=lambda query, *_: query)
    image = jax.ShapeDtypeStruct((1, patch, patch, 3), jnp.uint8)
    init = partial(vit.init, jax.random.key(0), train=False)
    return jax.eval_shape(init, image)["params"]


def check_variant(name: str, arrays: AnyArrays) -> None:
    """Checks that a file has the given variant, if it shows its variant at all.

    Raises:
      ValueError: it has another one, which is named.
    """
    found = sizes(arrays)
    variant = VARIANTS[name]
    if found is None or found == variant:
        return
    fitting = [f"--config.model.variant={known}" for known in VARIANTS if VARIANTS[known] == found]
    alike = _of_other_patches(found)
    same = name in alike
    wanted = dict.fromkeys(VARIANTS[known].patch_size for known in ([name] if same else alike))
    convert = ", or ".join(
        f"{CONVERT} --patch_size={size} --out=x.npz makes a file of patches of {size} px"
        for size in wanted
    )
    text, own = map(_described, (found, variant))
    if not fitting:
        remedy = convert or _listed()
        raise ValueError(f"the file has {text}, as no variant has; {remedy}")
    remedies = [f"use {' or '.join(fitting)}", *([convert] if same else [])]
    raise ValueError(
        f"the file has {text}, model.variant={name!r} has {own}; {'; '.join(remedies)}"
    )


def variant_doubts(arrays: AnyArrays) -> tuple[str, ...]:
    """Returns a line where no variant has the sizes of a file, which then no training takes."""
    found = sizes(arrays)
    if found is None or found in VARIANTS.values():
        return ()
    alike = _of_other_patches(found)
    known = f"with other patches there are {', '.join(alike)}" if alike else _listed()
    return (f"no variant has {_described(found)}, so no training takes this file; {known}",)


def _of_other_patches(found: Variant) -> list[str]:
    """Returns the names of the variants that differ in nothing but the size of their patches."""
    patch = found.patch_size
    return [name for name, known in VARIANTS.items() if known._replace(patch_size=patch) == found]


def _listed() -> str:
    return f"there are {', '.join(VARIANTS)}"


def _described(sizes: Variant) -> str:
    """Returns a variant's numbers in words."""
    registers = f", {sizes.registers} registers" if sizes.registers else ""
    return (
        f"patches of {sizes.patch_size} px, width {sizes.hidden}, MLP of {sizes.mlp}, "
        f"{sizes.layers} layers, {sizes.heads} heads{registers}"
    )
