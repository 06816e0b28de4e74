"""Actions between training steps: reports of averages, speed and scores, and profiles."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array

from aftrans_jax.model.heads import HEADS
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.metrics import Averages, compute, merge
from aftrans_jax.training.reporting import MetricsLog, Progress
from aftrans_jax.training.state import TrainState


class Stopwatch:
    """Times training steps alone: neither compilation nor what happens while `paused`."""

    def __init__(self) -> None:
        self._steps = 0
        self._seconds = 0.0
        self._since = math.nan
        self._lap = 0, 0.0  # steps and seconds up to the last lap

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

    def lap(self) -> float:
        """Returns the steps per second from the last call to the last pause, NaN without steps."""
        steps = self._steps - self._lap[0]
        seconds = self._seconds - self._lap[1]
        self._lap = self._steps, self._seconds
        return steps / seconds if steps else math.nan


_OVERFLOWS = 20  # in a row; from flax's first loss scale that many halvings end below 0.1


@dataclass(kw_only=True)
class Report:
    """Averages the steps since the last report, writes them, and stops a run that diverged.

    The device is read at a report, and where `in_range` is asked, as each save does.

    Attributes:
      every: number of batches between reports.
      batch_size: rows of a batch, over all devices.
      peak_speed: images per second at the devices' peak, NaN where it is not known.
      schedule: learning rate by step.
      largest_loss: loss above which the training has left its range.
      recovery_advice: function that says how a run that diverged can go on.
      stopwatch: stopwatch of the training steps.
      log: log that takes the averages.
      progress: display that shows them.
    """

    every: int
    batch_size: int
    peak_speed: float
    schedule: Callable[[int], Array]
    largest_loss: float
    recovery_advice: Callable[[], str]
    stopwatch: Stopwatch
    log: MetricsLog
    progress: Progress
    _pending: list[Averages] = field(default_factory=list, init=False)
    _loss: float = field(default=math.nan, init=False)
    _overflows: int = field(default=0, init=False)

    def __call__(self, number: int, state: TrainState, averages: Averages) -> None:
        """Adds the averages of a step to those that are reported when it is time."""
        self.stopwatch.step(averages)
        self.progress.advance()
        self._pending.append(averages)
        if number % self.every == 0:
            self.finish(state)

    def speed(self) -> dict[str, float]:
        """Returns the mean training speed up to the last report, NaN before the first.

        It is "images_per_second" and, where the devices' peak is known, "mfu": model FLOP
        utilisation, the share of the peak that the images' forward and backward passes make.
        """
        return self._speed(self.stopwatch.steps_per_second())

    def in_range(self) -> bool:
        """Returns whether the loss since the last report, or at it, is finite and in its range.

        Batches that float16 skipped, or in which no image could be read, have no loss and do not
        count.
        """
        if self._pending:
            self._note_loss(merge(self._pending))
        return self._loss <= self.largest_loss

    def divergence(self) -> str:
        """Returns what is said of a training that ends with a loss above its range; "" of others.

        A finite loss ends no training: it may come back.
        """
        if not self._loss > self.largest_loss:
            return ""
        return (
            f"the training diverged: its last loss is {self._loss:.3g}, expected at most "
            f"{self.largest_loss:.3g}, three times what guessing costs. {self.recovery_advice()}"
        )

    def finish(self, state: TrainState) -> None:
        """Writes what has come since the last report, if anything.

        Raises:
          FloatingPointError: the loss is not finite, or float16 skipped many batches in a row.
        """
        if self._pending:
            with self.stopwatch.paused(state):
                self._flush(state)

    def _speed(self, steps_per_second: float) -> dict[str, float]:
        speed = steps_per_second * self.batch_size
        mfu = speed / self.peak_speed
        return {"images_per_second": speed, **({} if math.isnan(mfu) else {"mfu": mfu})}

    def _note_loss(self, merged: Averages) -> None:
        if merged["loss"].count:
            self._loss = compute(merged)["loss"]

    def _flush(self, state: TrainState) -> None:
        self._note_loss(merged := merge(self._pending))
        values = compute(merged)
        for averages in jax.device_get(self._pending):
            skipped = bool(averages["skipped"].total)
            self._overflows = self._overflows + 1 if skipped else 0
        self._pending = []
        step = int(state.step)
        del values["skipped"]
        values |= self._speed(self.stopwatch.lap())
        values["learning_rate"] = float(self.schedule(max(0, step - 1)))  # it had this
        values["skipped_steps"] = int(state.skipped)
        self.log.write(step, "train", values)
        if self._overflows >= _OVERFLOWS:
            raise FloatingPointError(
                f"float16 gradients overflowed in the last {self._overflows} batches in a row at "
                f"step {step}. {self.recovery_advice()}"
            )
        if merged["loss"].count and not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"the loss is {values['loss']} at step {step}. {self.recovery_advice()}"
            )
        self.progress.report(step, values)


_SETTLING = 5  # first steps of a start, which compile and fill the queues
_TRACED = 5  # steps after them


class Profile:
    """Traces a few steps of each start by JAX's profiler.

    A trace lies in a folder of its own, named after the time, so earlier ones stay. It has steps 6
    to 10 since the start, or as many of them as there are.

    Follows: CLU `Profile`, which cannot be imported without TensorFlow.
    """

    def __init__(self, directory: Path, stopwatch: Stopwatch) -> None:
        """Traces into a directory; the stopwatch of the steps stands still meanwhile."""
        self._directory = directory
        self._stopwatch = stopwatch
        self._steps = 0
        self._trace = contextlib.ExitStack()

    def __call__(self, number: int, state: TrainState, averages: Averages) -> None:
        """Begins or ends the trace when it is time."""
        del number, averages
        self._steps += 1
        if self._steps == _SETTLING:
            with self._stopwatch.paused(state):
                trace = jax.profiler.trace(self._directory, create_perfetto_trace=True)
                self._trace.enter_context(trace)
        elif self._steps == _SETTLING + _TRACED:
            with self._stopwatch.paused(state):
                self.close()

    def close(self) -> None:
        """Ends and writes a trace that has begun, as of a run that ends meanwhile."""
        self._trace.close()


def show_scores(evaluation: Evaluation, step: int, split: str, progress: Progress) -> None:
    """Shows the accuracies of an evaluation in a line."""
    line = accuracy_line(evaluation.scores, evaluation.num_examples, split)
    progress.say(f"step {step}: {line}")


def accuracy_line(scores: Mapping[str, Any], num_images: int, split: str) -> str:
    """Returns the accuracies that scores hold, such as "global_accuracy", for people to read."""
    shown = [
        f"{head} {scores[key]:.1%}"
        for head in HEADS
        if scores.get(key := f"{head}_accuracy") is not None  # a branch that is there
    ]
    return f"accuracy on {num_images} {split} images: {'  '.join(shown)}"
