"""The training loop: a step, then the actions that follow it."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jaxtyping import Array

from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.state import TrainState

StepFn = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Averages]]
Action = Callable[[int, TrainState, Averages], None]


def train(
    state: TrainState,
    *,
    step_fn: StepFn,
    batches: Iterator[Mapping[str, Array]],
    num_steps: int,
    actions: Sequence[Action],
    should_stop: Callable[[int], bool],
) -> TrainState:
    """Returns the state after `num_steps` applied updates, or earlier when asked to stop.

    Args:
      state: donated to the first step.
      step_fn: compiled; gives the next state and what to average.
      batches: from the state's own batch number on.
      num_steps: updates in all; batches that float16 skips do not count.
      actions: called in order with the batch number, the state and the step's averages.
      should_stop: asked with the batch number after the actions.

    Beside what actions read, the host reads the device only to count steps that were skipped.
    """
    number = int(state.batch_number)
    while (remaining := num_steps - int(state.step)) > 0:
        for _ in range(remaining):
            state, averages = step_fn(state, next(batches))
            number += 1
            for action in actions:
                action(number, state, averages)
            if should_stop(number):
                return state
    return state


class StopRequest:
    """Turns the first SIGTERM or SIGINT into a request to save and stop; a second one kills.

    Called with a batch number, says whether to stop now. Several processes agree on it every
    `agree_every` batches, since a signal reaches them at different steps. Orbax would notice
    preemption only under `jax.distributed`.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, agree_every: int) -> None:
        self._requested = False
        self._agree_every = agree_every

    def __enter__(self) -> "StopRequest":
        self._previous = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __call__(self, number: int) -> bool:
        if jax.process_count() > 1:
            if number % self._agree_every:
                return False
            asked = multihost_utils.process_allgather(np.array(self._requested))
            self._requested = bool(asked.any())
        return self._requested

    def _note(self, number: int, frame: object) -> None:
        del frame
        logging.warning("%s: saving after this step", signal.Signals(number).name)
        self._requested = True
        signal.signal(number, self._previous[signal.Signals(number)])
