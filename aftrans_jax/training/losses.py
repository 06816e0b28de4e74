"""The two-branch loss."""

from collections.abc import Mapping

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def branch_losses(
    logits: Mapping[str, Float[Array, "batch classes"]], labels: Int[Array, " batch"]
) -> dict[str, Float[Array, " batch"]]:
    """Returns the cross-entropy of each example, in nats, by branch.

    Paper: Loss_g and Loss_l of eq. 10.
    """
    return {
        name: optax.softmax_cross_entropy_with_integer_labels(branch.astype(jnp.float32), labels)
        for name, branch in logits.items()
    }


def total_loss(
    losses: Mapping[str, Float[Array, " batch"]], weights: Mapping[str, float]
) -> Float[Array, " batch"]:
    """Returns the weighted sum over the branches that there are, per example.

    Paper: eq. 10.
    """
    return jnp.stack([weights[name] * loss for name, loss in losses.items()]).sum(axis=0)
