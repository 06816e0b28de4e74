"""The stopwatch counts steps and seconds by a clock that the test sets; profiles hold few steps."""

import gzip
import itertools
import json
import math

import jax
import jax.numpy as jnp
import pytest
from clu.metrics import Average

from aftrans_jax.training import actions
from aftrans_jax.training.actions import Profile, Stopwatch
from aftrans_jax.training.loop import train
from aftrans_jax.training.precision import NoLossScale
from aftrans_jax.training.state import TrainState


class Running:
    """A result that is there at a time."""

    def __init__(self, clock, ready):
        self._clock, self._ready = clock, ready

    def block_until_ready(self):
        self._clock[0] = max(self._clock[0], self._ready)
        return self


def test_neither_compilation_nor_pauses_count(monkeypatch):
    clock, watch = [7.0], Stopwatch()
    monkeypatch.setattr(actions.time, "monotonic", lambda: clock[0])

    def step(ready=math.inf):  # who waited for one would wait for ever
        watch.step({"loss": Average(Running(clock, ready), 1)})

    def pause(ready):
        state = TrainState(Running(clock, ready), 0, {}, {}, NoLossScale())
        with watch.paused(state):
            clock[0] += 1000  # an evaluation

    step(ready=107)  # which is compiled, and waited for
    assert math.isnan(watch.steps_per_second())
    for _ in range(4):
        clock[0] += 0.5
        step()
    pause(ready=111)  # two seconds later
    assert watch.steps_per_second() == watch.lap() == pytest.approx(1)
    clock[0] += 6
    step()
    pause(ready=0)
    assert watch.steps_per_second() == pytest.approx(0.5)
    assert watch.lap() == pytest.approx(1 / 6)  # a loader that stalls is seen at once
    assert math.isnan(watch.lap())


def traced_steps(folder):
    """Numbers of the steps in the one trace of a folder, as Perfetto would show them."""
    (path,) = folder.glob("plugins/profile/*/perfetto_trace.json.gz")
    assert len(list(path.parent.glob("*.xplane.pb"))) == 1  # for TensorBoard
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return [int(x["args"]["step_num"]) for x in events if x.get("name") == "train"]


@pytest.mark.parametrize(("num_steps", "traced"), [(30, range(45, 50)), (7, (45, 46)), (4, ())])
def test_five_steps_are_traced_after_the_first_five_of_a_start(num_steps, traced, tmp_path):
    earlier = tmp_path / "plugins" / "profile" / "2026_01_01_00_00_00" / "host.trace.json.gz"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"of an earlier start")
    watch, update = Stopwatch(), jax.jit(lambda state: state.replace(step=state.step + 1))

    def step(state, batch):
        return update(state), {"loss": Average(state.step, batch)}

    profile = Profile(tmp_path, watch)
    train(
        TrainState(jnp.asarray(40), jnp.asarray(0), {}, {}, NoLossScale()),  # a run that resumes
        step_fn=step,
        batches=itertools.count(),
        num_steps=40 + num_steps,
        actions=[lambda number, state, averages: watch.step(averages), profile],
        should_stop=lambda number: False,
    )
    profile.close()
    assert earlier.read_bytes() == b"of an earlier start"
    earlier.unlink()
    assert not traced or traced_steps(tmp_path) == list(traced)
    assert bool(list(tmp_path.glob("*/*/*/*"))) == bool(traced)
