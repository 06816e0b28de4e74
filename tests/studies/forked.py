"""A study of tiny runs in processes that a server forks, to be killed; see tests/faults."""

import os
import sys
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "faults")]
import processes

STUDY = """
from aftrans_jax.studies.definition import Row, Study

get_study = lambda: Study(
    "Tiny",
    {
        "keep 0.2": Row(),
        "Keep: 0.6": Row({"sacm.keep_ratio": 0.6}, ("local", "sum")),
        "boxes": Row({"region.method": "annotated"}, ("local",), evaluates="Keep: 0.6"),
    },
    base="keep 0.2",
)
"""


class Nowhere:
    """A pipe for a run's phases that nobody reads."""

    def send(self, phase):
        del phase


class Forked:
    """The part of `subprocess.Popen` that studies use, without importing everything again."""

    def __init__(self, command, *, stdout, **options):
        del options
        self._process = processes._context().Process(
            target=processes._work, args=(command[3:], stdout.name, Nowhere(), 0)
        )
        self._process.start()

    def poll(self):
        return self._process.exitcode

    def terminate(self):
        self._process.terminate()

    def wait(self):
        self._process.join()


def _study(arguments, output, server):
    # Of the server that forked this process: Python would start another, which imports all anew.
    forkserver._forkserver._forkserver_address = server
    forkserver._forkserver.ensure_running = resource_tracker.ensure_running
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    from unittest import mock

    from experiments import tiny_variants

    from aftrans_jax import study
    from aftrans_jax.flags import parse_flags

    sys.argv = study.with_base(["study", *arguments])
    with tiny_variants(), mock.patch("subprocess.Popen", Forked):
        study.main(parse_flags(sys.argv))


def start(folder: Path, workdir: Path, *arguments: str):
    """Starts `python -m aftrans_jax.study` on the tiny study; what it prints is in output.txt."""
    (folder / "tiny_study.py").write_text(STUDY)
    config = processes.configuration(folder, model__name="aftrans")
    given = [f"--study={folder / 'tiny_study.py'}", f"--workdir={workdir}", f"--config={config}"]
    context = processes._context()
    forkserver.ensure_running()
    server = forkserver._forkserver._forkserver_address
    process = context.Process(
        target=_study, args=([*given, *arguments], str(folder / "output.txt"), server)
    )
    process.start()
    return process
