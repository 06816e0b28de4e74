"""A second look at an image before a model answers: at its mirror image."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aftrans_jax.model.outputs import Images, ModelOutput

# Of images, and perhaps of boxes to be cropped.
Apply = Callable[..., ModelOutput]


def mirrored(apply: Apply) -> Apply:
    """Returns `apply` with the mean logits of an image and of its mirror image.

    Logits and not probabilities, so that the sum of both branches is the mean of both sums; their
    softmax is the geometric mean of both images' probabilities, rescaled. Region and features are
    the image's own. It takes two passes.

    Args:
      apply: forward pass of a model; its images are pixel values, its boxes (top, left, bottom,
        right) in pixels of the images.
    """

    def twice(images: Images, **boxes: Float[Array, "batch 4"]) -> ModelOutput:
        images = jnp.asarray(images)
        width = images.shape[2]
        turned = {
            name: jnp.stack([top, width - right, bottom, width - left], axis=1)
            for name, box in boxes.items()
            for top, left, bottom, right in [box.T]
        }
        output = apply(images, **boxes)
        other = apply(images[:, :, ::-1], **turned)
        means = jax.tree.map(lambda one, two: (one + two) / 2, output.logits, other.logits)
        return output._replace(logits=means)

    return twice
