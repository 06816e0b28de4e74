"""How often a model looks at an image before it answers: once, or at its mirror image too."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.outputs import Images, ModelOutput

# Of images, and perhaps of boxes to be cropped.
Apply = Callable[..., ModelOutput]
View = Callable[..., ModelOutput]


def once(apply: Apply, images: Images, **boxes: Float[Array, "batch 4"]) -> ModelOutput:
    """Returns what a model makes of its images."""
    return apply(images, **boxes)


def with_mirrored(apply: Apply, images: Images, **boxes: Float[Array, "batch 4"]) -> ModelOutput:
    """Returns the same, with logits that are the mean of those of an image and its mirror image.

    Logits and not probabilities, so that the sum of both branches is the mean of both sums; their
    softmax is the geometric mean of both images' probabilities, rescaled. Region and features are
    the image's own. It takes two passes.

    Args:
      apply: of a model.
      images: pixel values.
      boxes: to be cropped, (top, left, bottom, right) in pixels of the images.
    """
    images = jnp.asarray(images)
    width = images.shape[2]
    turned = {
        name: jnp.stack([top, width - right, bottom, width - left], axis=1)
        for name, box in boxes.items()
        for top, left, bottom, right in [box.T]
    }
    output, mirrored = apply(images, **boxes), apply(images[:, :, ::-1], **turned)
    means = jax.tree.map(lambda one, other: (one + other) / 2, output.logits, mirrored.logits)
    return output._replace(logits=means)


VIEWS: Mapping[bool, View] = MappingProxyType({False: once, True: with_mirrored})
