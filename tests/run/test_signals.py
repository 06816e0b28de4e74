"""A signal that comes where Python cannot raise still stops the run."""

import gc
import os
import pty
import signal
import socket
import subprocess
import sys
import time

import pytest

from aftrans_jax.run.signals import Stopped, StopRequest


@pytest.fixture(autouse=True)
def heeded():
    """SIGHUP is not ignored, also where the tests run under nohup; their processes inherit it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
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
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
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


def test_a_hang_up_that_is_ignored_stays_so():
    """As by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0)
        assert not stop(0)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


# Runs `aftrans_jax.main` with this in the place of a training.
AS_MAIN = """
import os, runpy, signal, sys, time
from pathlib import Path
from aftrans_jax.run import launch
from aftrans_jax.training.reporting import Progress

def launch_training(config, workdir, stop, command):
    progress = Progress(10000)
    {body}

launch.launch_training = launch_training
sys.argv[0] = "main"
runpy.run_module("aftrans_jax.main", run_name="__main__")
"""


def started(tmp_path, body, **streams):
    flags = ["--config=configs/demo.py", f"--workdir={tmp_path}"]
    code = AS_MAIN.format(body="\n    ".join(body.strip().splitlines()))
    return subprocess.Popen([sys.executable, "-c", code, *flags], **streams)


def read_until(descriptor, text):
    seen = b""
    while text not in seen:
        seen += os.read(descriptor, 4096)


HANGS_UP = """
os.close(os.open(os.ttyname(1), os.O_RDWR))  # so it is the terminal of this session
progress.start(0)
with stop.deferring():
    print("begun", flush=True)
    while not stop(0):
        time.sleep(0.01)
    time.sleep(0.7)  # more than between two signals that are one
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    progress.advance()
    progress.report(1, dict(loss=1.0))
    progress.say("saving")
    Path(workdir, "saved").touch()
"""


def test_a_terminal_that_closes_has_the_run_saved(tmp_path):
    """It may get SIGHUP twice, and SIGTERM when the session ends; what it writes fails."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = started(tmp_path, HANGS_UP, start_new_session=True, **streams)
    os.close(theirs)
    read_until(ours, b"begun")
    os.close(ours)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


SAYS_MUCH = """
from absl import logging
os.read(0, 1)
for step in range(3000):
    progress.report(step, dict(loss=1.0))
    logging.warning("step %d", step)
    sys.stderr.write("more")
Path(workdir, "saved").touch()
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path, monkeypatch, unbuffered):
    """Such as `| head`."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    pipe, streams = subprocess.PIPE, {"stderr": subprocess.STDOUT}
    with started(tmp_path, SAYS_MUCH, stdin=pipe, stdout=pipe, **streams) as process:
        assert process.stdout.readline().startswith(b"aftrans_jax ")
        process.stdout.close()
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.wait(60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
