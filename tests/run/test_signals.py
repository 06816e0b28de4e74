"""A signal that comes where Python cannot raise still stops the run."""

import gc
import os
import signal
import sys
import time

import pytest

from aftrans_jax.run.signals import Stopped, StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_a_collection_of_garbage_is_not_lost(number, monkeypatch):
    """Python drops what is raised there; JAX has such a callback."""
    printed, sent = [], []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)

    def callback(phase, info):
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
            time.sleep(0)  # here the handler is called

    def run():
        with StopRequest():
            gc.callbacks.append(callback)
            try:
                gc.collect()
            finally:
                gc.callbacks.remove(callback)
            time.sleep(10)

    before = sys.unraisablehook
    with pytest.raises(Stopped) as caught:
        run()
    assert caught.value.exit_code == 128 + number
    assert (printed, sent) == ([], [number])
    assert sys.unraisablehook == before


def test_a_hook_that_is_set_within_stays(monkeypatch):
    """As that of `quiet_orbax`, which is set once a process."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with StopRequest():
        outer, seen = sys.unraisablehook, []

        def later(dropped):
            seen.append(dropped)
            outer(dropped)

        sys.unraisablehook = later
    assert sys.unraisablehook is later
