"""Evaluates the splits of a run, and computes the relevance of patches in a few images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from aftrans_jax.config import Config
from aftrans_jax.data.examples import Source
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.data.sets.subsets import Subset
from aftrans_jax.experiment.batches import eval_batch_size, global_eval_batches
from aftrans_jax.experiment.model import ANNOTATED, Model, loss_weights
from aftrans_jax.training import sharding
from aftrans_jax.training.evaluation import Evaluation, Step, eval_step, evaluate, relevance
from aftrans_jax.training.state import TrainState


class Evaluator(NamedTuple):
    """One compiled step for all evaluated splits.

    Attributes:
      splits: images by split: "validation", "test".
      skipped: images that could not be read, by split; empty where they are errors.
      step: (parameters, batch) -> averages and examples of the batch.
      batches: (images, skipped) -> their global batches.
      mesh: mesh of the devices.
    """

    splits: Mapping[str, Source]
    skipped: Mapping[str, Skipped]
    step: Callable[[Any, Mapping[str, Array]], Any]
    batches: Callable[..., Iterator[Mapping[str, Array]]]
    mesh: Mesh

    def evaluate(self, state: TrainState, split: str) -> Evaluation:
        """Returns the evaluation of a full split."""
        batches = self.batches(self.splits[split], self.skipped.get(split))
        return evaluate(self._step_of(state), batches)

    def relevance(
        self, state: TrainState, positions: Sequence[int]
    ) -> Float[np.ndarray, "images rows cols"] | None:
        """Returns the relevance of the patches of some test images; None without regions.

        Args:
          state: state of the training.
          positions: positions of the images in the test split, the same in every process.
        """
        batches = self.batches(Subset(self.splits["test"], tuple(positions)), None)
        return relevance(self._step_of(state), batches)

    def _step_of(self, state: TrainState) -> Step:
        everywhere = NamedSharding(self.mesh, sharding.REPLICATED)
        return partial(self.step, jax.device_put(state.eval_params(), everywhere))


def build_evaluator(
    config: Config,
    model: Model,
    mesh: Mesh,
    splits: Mapping[str, Source],
    skipped: Mapping[str, Skipped],
) -> Evaluator:
    """Returns the evaluator of a configuration's model and splits.

    Args:
      config: complete configuration.
      model: model to evaluate.
      mesh: mesh of the devices.
      splits: images by split, see `Evaluator`.
      skipped: images that could not be read, by split.
    """
    step = partial(
        eval_step,
        model=model,
        loss_weights=loss_weights(config),
        all_sum=sharding.all_sum,
        crops_annotated=config.region.method == ANNOTATED,
        mirror=config.eval.mirror,
    )
    specs = (sharding.REPLICATED, sharding.BATCH_SPLIT)
    compiled = sharding.per_device(step, mesh, arguments=specs, results=specs)
    batch_size = eval_batch_size(config, mesh, splits.values())

    def batches(source: Source, skipped: Skipped | None) -> Iterator[Mapping[str, Array]]:
        return global_eval_batches(config, source, mesh, skipped, batch_size)

    return Evaluator(splits, skipped, compiled, batches, mesh)
