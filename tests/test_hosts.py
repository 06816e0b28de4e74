"""The message of a process that jaxlib ends because another one died; see faults/peers.py."""

import os
import signal
import subprocess
import sys

import pytest
from places import ROOT

CODE = """
import os, signal, sys
from aftrans_jax.hosts import leave_at_once, told_of_an_abort
with told_of_an_abort():
    {body}
"""
LAST = "Start all processes again: the run is resumed\n"


def run(body):
    return subprocess.run(
        [sys.executable, "-c", CODE.format(body=body)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,  # which stderr's end would not come before, were the watcher still there
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [("os.abort()", -signal.SIGABRT), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)],
)
def test_an_abort_is_followed_by_what_to_do(body, code):
    done = run(body)
    assert done.returncode == code
    assert done.stderr.endswith(LAST)
    assert "another process of the run" in done.stderr


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise SystemExit('error: it is full')", 1, "error: it is full\n"),
    ],
)
def test_a_process_that_leaves_in_order_says_no_more(body, code, said):
    done = run(body)
    assert (done.returncode, done.stderr) == (code, said)


def test_leaving_at_once_says_what_to_do():
    done = run("pass\nleave_at_once('error: process 1 is gone')")
    assert (done.returncode, done.stderr) == (1, f"error: process 1 is gone\n{LAST}")
