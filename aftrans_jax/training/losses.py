"""The training loss: cross-entropy of both branches, and optional further terms."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from aftrans_jax.model.outputs import ModelOutput

_MARGIN = 0.4

# Logits by branch and the batch -> the cross-entropy of each example, in nats, by branch.
CrossEntropy = Callable[[Mapping[str, Array], Mapping[str, Array]], dict[str, Array]]


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


def label_losses(
    logits: Mapping[str, Float[Array, "batch classes"]], batch: Mapping[str, Array]
) -> dict[str, Float[Array, " batch"]]:
    """Returns `branch_losses` of the batch's "label"."""
    return branch_losses(logits, batch["label"])


def target_losses(
    logits: Mapping[str, Float[Array, "batch classes"]], batch: Mapping[str, Array]
) -> dict[str, Float[Array, " batch"]]:
    """Returns the cross-entropy to the batch's "target" [batch classes], in nats, by branch.

    Targets are weighted: the sum of a target is the weight of its example.

    Follows: torch `CrossEntropyLoss` of class probabilities.
    """
    return {
        name: optax.softmax_cross_entropy(branch.astype(jnp.float32), batch["target"])
        for name, branch in logits.items()
    }


def distillation(
    logits: Mapping[str, Float[Array, "batch classes"]],
) -> Float[Array, " batch"]:
    """Returns KL(local || global) of the predicted classes per example, in nats.

    The local logits receive no gradient: the local branch teaches and does not learn from it.

    Choice: a term `loss.distill` beside eq. 10, off by default; the paper has none.
    """
    student, teacher = (
        jax.nn.log_softmax(logits[name].astype(jnp.float32)) for name in ("global", "local")
    )
    teacher = jax.lax.stop_gradient(teacher)
    return optax.losses.kl_divergence_with_log_targets(student, teacher)


def contrastive(
    features: Float[Array, "batch hidden"],
    labels: Int[Array, " batch"],
    mask: Bool[Array, " batch"],
    margin: float = _MARGIN,
) -> Float[Array, " batch"]:
    """Returns each example's mean contrastive loss over its pairs with all examples and itself.

    A pair of one class costs 1 - cosine, another max(cosine - margin, 0). The mean over the
    examples whose mask is set is TransFG's loss. Pairs are formed within the given rows: none spans
    two devices or two accumulation steps.

    Args:
      features: feature vectors, of any length.
      labels: classes of the examples.
      mask: False where a row holds no example; such rows are in no pair.
      margin: cosine up to which a pair of two classes costs nothing.

    Follows: TransFG con_loss.
    """
    features = jnp.where(mask[:, None], features.astype(jnp.float32), 0)
    squares = jnp.square(features).sum(axis=-1, keepdims=True)
    unit = features * jax.lax.rsqrt(jnp.maximum(squares, 1e-24))  # 1e-12 squared, as torch
    cosine = jnp.matmul(unit, unit.T, precision="highest")
    is_same = labels[:, None] == labels
    costs = jnp.where(is_same, 1 - cosine, jax.nn.relu(cosine - margin))
    return jnp.where(mask, costs, 0).sum(axis=1) / jnp.maximum(mask.sum(), 1)


def loss_terms(
    output: ModelOutput,
    batch: Mapping[str, Array],
    weights: Mapping[str, float],
    cross_entropy: CrossEntropy = label_losses,
) -> dict[str, Float[Array, " batch"]]:
    """Returns all weighted terms of the training loss, per example, by their names in `weights`.

    They are the cross-entropy of each branch and, where their weights are positive, "distill" and
    "contrastive", of the global features.

    Args:
      output: output of the model.
      batch: batch with "label", "mask" and what `cross_entropy` reads.
      weights: weights of the terms.
      cross_entropy: cross-entropy of each branch.
    """
    terms = cross_entropy(output.logits, batch)
    if weights.get("distill", 0) > 0:
        terms["distill"] = distillation(output.logits)
    if weights.get("contrastive", 0) > 0:
        features = output.features["global"]
        terms["contrastive"] = contrastive(features, batch["label"], batch["mask"])
    return terms


def total_loss(
    losses: Mapping[str, Float[Array, " batch"]], weights: Mapping[str, float]
) -> Float[Array, " batch"]:
    """Returns the weighted sum over the given terms, per example.

    Paper: eq. 10.
    """
    return jnp.stack([weights[name] * loss for name, loss in losses.items()]).sum(axis=0)
