"""A signal that comes where Python cannot raise still stops the run."""

import gc
import os
import signal
import socket
import subprocess
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
    """Such as the hook of `quiet_orbax`, which is set once per process."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with StopRequest():
        outer, seen = sys.unraisablehook, []

        def later(dropped):
            seen.append(dropped)
            outer(dropped)

        sys.unraisablehook = later
    assert sys.unraisablehook is later


AT_THE_START_OF_A_THREAD = """
import os, runpy, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
from aftrans_jax.run import launch

POOL = ThreadPoolExecutor(1)

def started(self, start=threading.Thread.start):
    start(self)
    os.kill(os.getpid(), signal.SIGTERM)

def launch_training(*args):
    threading.Thread.start = started
    POOL.submit(print)

launch.launch_training = launch_training
sys.argv[0] = "main"
runpy.run_module("aftrans_jax.main", run_name="__main__")
"""


def test_a_signal_at_the_start_of_a_thread_does_not_keep_the_process(tmp_path):
    """A pool whose `submit` was left has a thread that nothing wakes at an ordinary exit."""
    flags = ["--config=configs/demo.py", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_START_OF_A_THREAD, *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr.startswith("SIGTERM: ")


def test_a_signal_does_not_replace_an_error_that_is_on_its_way():
    def failing():
        with StopRequest() as stop:
            try:
                raise OSError("the disk is full")
            finally:
                with stop.deferring(raising=False):
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(0)

    with pytest.raises(OSError, match="full"):
        failing()


def test_what_was_there_before_is_there_again_and_the_first_signal_counts():
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in numbers]

    def interrupted():
        with StopRequest() as stop, stop.deferring():
            for number in numbers:
                os.kill(os.getpid(), number)
                time.sleep(0)  # here the handler is called

    with socket.socket() as own:
        own.setblocking(False)
        before = signal.set_wakeup_fd(own.fileno(), warn_on_full_buffer=False)
        try:
            with pytest.raises(Stopped) as caught:
                interrupted()
        finally:
            found = signal.set_wakeup_fd(before)
        assert found == own.fileno()
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert [signal.getsignal(number) for number in numbers] == handlers
