"""The training loop: a step, then the actions that follow it."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
from jaxtyping import Array

from aftrans_jax.training.memory import oom_remedy
from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.state import TrainState

StepFn = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Averages]]
Action = Callable[[int, TrainState, Averages], None]

# Steps queued on the device while another runs: enough to keep it busy, and no more, since the
# save after a signal waits for all of them.
_AHEAD = 2


@oom_remedy("raise train.accumulation_steps")
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
      state: state to start from; donated to the first step.
      step_fn: compiled step, which returns the next state and averages.
      batches: batches, starting at the state's own batch number.
      num_steps: total number of updates; batches that float16 skips do not count.
      actions: called in order with the batch number, the state and the step's averages.
      should_stop: asked with the batch number after the actions.

    Steps are enqueued at most two ahead of the one that runs. Apart from what actions read, the
    host reads from the device only to count skipped steps.
    """
    number = int(state.batch_number)
    enqueued = deque[Averages]()
    while (remaining := num_steps - int(state.step)) > 0:
        for _ in range(remaining):
            with jax.profiler.StepTraceAnnotation("train", step_num=number):
                state, averages = step_fn(state, next(batches))
            enqueued.append(averages)
            if len(enqueued) > _AHEAD:
                jax.block_until_ready(enqueued.popleft())
            number += 1
            for action in actions:
                action(number, state, averages)
            if should_stop(number):
                return state
    return state
