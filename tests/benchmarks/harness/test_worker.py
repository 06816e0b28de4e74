"""Messages of workers, and errors of those that fail."""

import subprocess
import sys

import pytest

from benchmarks.harness.errors import LackingError, LeftOutError, WorkerError
from benchmarks.harness.worker import Worker

FUNCTIONS = """
import os
from benchmarks.harness.errors import LeftOutError

def add(number, talk):
    while (more := talk(number)) is not None:
        number += more
    return os.environ["COLOUR"], number

def leave_out(talk): raise LeftOutError("no camera here")
def lack(talk): from aftrans_jax import nothing_of_the_kind
def fail(talk): raise ValueError("a wrong turn")
def die(talk): os._exit(7)
def tell(talk):
    print('begun', flush=True)
    wait(talk)
def wait(talk):
    import time
    time.sleep(60)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A worker of one of the functions above."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name, *args: Worker(f"functions:{name}", *args, environment={"COLOUR": "red"})


def test_a_worker_stops_where_it_talks(start):
    worker = start("add", 1)
    assert worker.listen() == (1, False)
    worker.answer(10)
    assert worker.listen() == (11, False)
    worker.answer()
    assert worker.listen() == (("red", 11), True)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("leave_out", LeftOutError, "no camera here"),
        ("lack", LackingError, "nothing_of_the_kind"),
        ("fail", WorkerError, "a wrong turn"),
        ("die", WorkerError, r"functions:die ended with exit code 7"),
        ("absent", WorkerError, "absent"),
    ],
)
def test_what_became_of_a_worker_is_told(start, name, error, message):
    with pytest.raises(error, match=message):
        start(name).result()


def test_a_worker_that_is_too_slow_is_ended(start):
    with pytest.raises(WorkerError, match=r"within 0\.1 s"):
        start("wait").result(timeout=0.1)


def test_a_worker_ends_with_the_process_that_started_it(start):
    """A benchmark that SIGTERM ends must not leave a compilation behind."""
    program = "from benchmarks.harness.worker import Worker; Worker('functions:tell').result()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"begun\n"
        parent.terminate()
        parent.communicate(timeout=30)  # until no process has that end of the pipe


def test_benchmarks_need_neither_loaders_nor_tensorflow():
    """A GPU's machine has neither: what runs there is imported without them."""
    from benchmarks.registry import REGISTRY

    modules = {
        entry.function.partition(":")[0] for entry in REGISTRY.values() if "gpu" in entry.devices
    }
    modules -= {"benchmarks.claims.localization"}  # reads photos
    lines = [
        "import sys",
        "for name in ('grain', 'tensorflow', 'cv2', 'jinja2', 'torch'): sys.modules[name] = None",
        *(f"import {name}" for name in sorted({*modules, "benchmarks.__main__"})),
    ]
    assert len(modules) >= 6
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
