"""What happens between training steps: report, evaluate, checkpoint."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
import optax

from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.metrics import Averages, compute, merge
from aftrans_jax.training.reporting import MetricsLog, Progress
from aftrans_jax.training.state import TrainState


class Stopwatch:
    """Times training steps alone: neither compilation nor what happens while `paused`."""

    def __init__(self) -> None:
        self._steps, self._seconds, self._since = 0, 0.0, math.nan

    def step(self, result: Averages) -> None:
        """Counts a step whose result is still being computed.

        The first step is waited for and not counted, since compilation precedes it.
        """
        if math.isnan(self._since):
            jax.block_until_ready(result)
            self._since = time.monotonic()
        else:
            self._steps += 1

    @contextlib.contextmanager
    def paused(self, state: TrainState) -> Iterator[None]:
        """Stops the clock in a `with` block, once the steps so far are done.

        Steps are asynchronous: without waiting, their time would be missing.
        """
        jax.block_until_ready(state)
        self._seconds += time.monotonic() - self._since
        yield
        self._since = time.monotonic()

    def steps_per_second(self) -> float:
        """Returns the mean over the run up to the last pause, NaN before the first."""
        return self._steps / self._seconds if self._steps else math.nan


class Report:
    """Averages the steps since the last report, writes them, and stops a run that diverged.

    The device is read once per report; until then steps are only enqueued.
    """

    def __init__(
        self,
        every: int,
        *,
        batch_size: int,
        schedule: optax.Schedule,
        stopwatch: Stopwatch,
        log: MetricsLog,
        progress: Progress,
    ) -> None:
        self._every, self._batch_size, self._schedule = every, batch_size, schedule
        self._stopwatch, self._log, self._progress = stopwatch, log, progress
        self._pending: list[Averages] = []

    def __call__(self, number: int, state: TrainState, averages: Averages) -> None:
        self._stopwatch.step(averages)
        self._progress.advance()
        self._pending.append(averages)
        if number % self._every == 0:
            self.finish(state)

    def images_per_second(self) -> float:
        """Returns the mean training speed up to the last report, NaN before the first."""
        return self._stopwatch.steps_per_second() * self._batch_size

    def finish(self, state: TrainState) -> None:
        """Writes what has come since the last report, if anything.

        Raises:
          FloatingPointError: the loss is not finite, or float16 skipped every step.
        """
        if self._pending:
            with self._stopwatch.paused(state):
                self._flush(state)

    def _flush(self, state: TrainState) -> None:
        values = compute(merge(self._pending))
        num_pending, self._pending = len(self._pending), []
        step, skipped_share = int(state.step), values.pop("skipped")
        values["images_per_second"] = self.images_per_second()
        values["learning_rate"] = float(np.asarray(self._schedule(step)))
        values["skipped_steps"] = int(state.skipped)
        self._log.write(step, "train", values)
        if skipped_share == 1 and num_pending >= min(self._every, 20):
            raise FloatingPointError(
                f"float16 gradients overflowed in all of the last {num_pending} batches at step "
                f"{step}: lower train.learning_rate, or use train.precision=bfloat16 or float32"
            )
        if skipped_share < 1 and not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"the loss is {values['loss']} at step {step}: lower train.learning_rate, lengthen "
                "train.warmup_steps, or use train.precision=float32. The last checkpoint is intact"
            )
        self._progress.report(step, values)


class EvaluateAndSave:
    """Evaluates and writes a checkpoint every so many batches.

    One action does both: a state is saved with its scores, by which the best one is found.
    """

    def __init__(
        self,
        *,
        num_steps: int,
        evaluate_every: int,
        save_every: int,
        evaluate: Callable[[TrainState], Evaluation],
        split: str,
        checkpoints: Checkpoints,
        stopwatch: Stopwatch,
        log: MetricsLog,
        progress: Progress,
    ) -> None:
        self._num_steps = num_steps
        self._evaluate_every, self._save_every = evaluate_every, save_every
        self._evaluate, self._split = evaluate, split
        self._checkpoints, self._stopwatch = checkpoints, stopwatch
        self._log, self._progress = log, progress

    def __call__(self, number: int, state: TrainState, averages: Averages) -> None:
        del averages
        evaluate, save = number % self._evaluate_every == 0, number % self._save_every == 0
        if not (evaluate or save) or int(state.step) >= self._num_steps:
            return  # nothing is due, or `finish` does it
        with self._stopwatch.paused(state):
            if evaluate:
                self.evaluate(state)
            else:
                self.save(state)

    def save(self, state: TrainState) -> None:
        """Saves a state without evaluating it, as a signal leaves seconds for."""
        self._save(state, None)

    def evaluate(self, state: TrainState) -> Evaluation:
        """Returns the evaluation of a state, having written and shown it and saved the state."""
        try:
            evaluation = scored(self._evaluate, state, self._split, self._log, self._progress)
        except Exception:
            if jax.process_count() == 1:  # others would not come to the save
                self._save(state, None)  # an unreadable image must not cost the training
            raise
        self._save(state, evaluation.scores)
        return evaluation

    def _save(self, state: TrainState, scores: Mapping[str, float] | None) -> None:
        number = int(state.batch_number)
        if number != self._checkpoints.latest:  # a finished run is evaluated again as it is
            self._checkpoints.save(number, state, scores)


def scored(
    evaluate: Callable[[TrainState], Evaluation],
    state: TrainState,
    split: str,
    log: MetricsLog,
    progress: Progress,
) -> Evaluation:
    """Returns the evaluation of a state on a split, having written and shown it; saves nothing."""
    evaluation = evaluate(state)
    step = int(state.step)
    log.write(step, split, evaluation.scores)
    accuracies = "  ".join(
        f"{name.removesuffix('_accuracy')} {value:.1%}"
        for name, value in evaluation.scores.items()
        if name.endswith("_accuracy")
    )
    images = evaluation.num_examples
    progress.say(f"step {step}: accuracy on {images} {split} images: {accuracies}")
    return evaluation
