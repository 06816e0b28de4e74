"""One of two processes that are one run ends or fails: the other ends soon, and says what to do.

Where one gets a signal in an evaluation, both stop together. A run that shards its state over both
processes works.
"""

import functools
import os
import random
import signal
import tempfile
import time
from pathlib import Path

from driver import main
from processes import Run, problems

KINDS = (
    *("first, train", "second, train", "first, save", "second, save", "first, fails", "fsdp"),
    *("first, evaluate", "second, evaluate"),  # a signal, on which they agree
    *("first, build", "second, build", "first, report"),  # a signal, at which one leaves alone
)
SOON = 30  # seconds
LIMIT = 1500  # bytes that a file of the process that fails may have, fewer than its config.json


def two(workdir: Path, *arguments: str, limit: int = 0) -> list[Run]:
    """Starts both processes of the tiny run; their configuration and output lie beside it.

    Args:
      workdir: directory of the run.
      *arguments: of both processes.
      limit: largest size in bytes of a file of the first one, 0 for none.
    """
    from benchmarks.claims.scaling import free_port

    given = (f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2")
    runs = []
    for number in (0, 1):
        folder = workdir.parent / f"process{number}"
        folder.mkdir(exist_ok=True)
        own = (*given, *arguments, f"--process_id={number}")
        runs.append(Run(workdir, *own, limit=0 if number else limit, folder=folder))
    return runs


def finished(workdir: Path, *arguments: str) -> str | None:
    """Runs both to the end; returns what is wrong."""
    outcomes = [run.wait() for run in two(workdir, *arguments)]
    if any(outcome.code for outcome in outcomes):
        return f"exit codes {[outcome.code for outcome in outcomes]}: {outcomes[0].output}"
    return None


@functools.cache
def undisturbed() -> Path:
    """Returns the directory of an undisturbed run of two processes, made once."""
    workdir = Path(tempfile.mkdtemp()) / "reference"
    if problem := finished(workdir):
        raise RuntimeError(problem)
    return workdir


def stopped(workdir: Path, which: str) -> str | None:
    """Sends one process a signal in the first evaluation; returns what is wrong with both ends."""
    runs = two(workdir)
    victim = runs[which == "second"]
    victim.reaches("evaluate")
    os.kill(victim.pid, signal.SIGTERM)
    began = time.monotonic()
    outcomes = [run.wait() for run in runs]
    if (seconds := time.monotonic() - began) > SOON:
        return f"they went on for {seconds:.0f} s"
    expected = "SIGTERM: stopped and saved at step 4: the same command resumes\n"
    for code, said, _ in outcomes:
        if code != 128 + signal.SIGTERM or not said.endswith(expected):
            return f"exit code {code}: {said}"
    return None


def run_one(kind: str, seed: int) -> str | None:
    """Ends one process in a phase, looks at the other one, and starts both again."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        if kind == "fsdp":
            return finished(workdir, "--config.train.sharding=fsdp")
        which, phase = kind.split(", ")
        if phase == "evaluate":
            wrong = stopped(workdir, which)
            return wrong or finished(workdir) or problems(workdir, undisturbed())
        runs = two(workdir, limit=LIMIT * (phase == "fails"))
        victim, other = runs if which == "first" else runs[::-1]
        if phase == "fails":
            if "File too large" not in (said := victim.wait().output):
                return f"it did not fail: {said}"
        elif victim.reaches(phase):
            time.sleep(random.Random(seed).uniform(0, 0.3))
            os.kill(victim.pid, signal.SIGTERM if phase in ("build", "report") else signal.SIGKILL)
        else:
            return f"it ended before: {victim.wait().output}"
        began = time.monotonic()
        outcome = other.wait()
        if (seconds := time.monotonic() - began) > SOON:
            return f"the other process went on for {seconds:.0f} s"
        printed = Path(folder, f"process{int(which == 'first')}", "output.txt")
        if not outcome.code or not _ends_in_time(printed):
            return f"exit code {outcome.code}: {printed.read_text()}"
        return finished(workdir) or problems(workdir, undisturbed())


def _ends_in_time(printed: Path) -> bool:
    """Whether the last line says what to do; it may come from the process that waits for this."""
    for _ in range(50):
        if printed.read_text().endswith("Start all processes again: the run is resumed\n"):
            return True
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    main("peers", KINDS, run_one)
