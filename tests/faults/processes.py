"""Tiny runs through `aftrans_jax.main` in processes of their own, to be killed and starved."""

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from compilation import XLA_FLAGS

CACHE = Path(tempfile.gettempdir(), "aftrans_jax_faults")  # compiled steps, kept between drivers
STEPS = 8
PHASES = ("start", "train", "save", "evaluate", "report")
_SETTINGS = {
    "model__name": "vit",  # which compiles soonest
    "train__steps": STEPS,
    "train__save_every": 2,
    "eval__every": 4,
    "data__num_test": 8,
    "report__num_images": 1,
}


def configuration(folder: Path, **changes: Any) -> Path:
    """Writes the configuration of the tiny run as a file, with changes as of `tiny_config`."""
    from experiments import tiny_config

    path = folder / "tiny.py"
    settings = tiny_config(**(_SETTINGS | changes)).to_dict()
    path.write_text(
        f"from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({settings})\n"
    )
    return path


def _announce(module: Any, name: str, phase: str, phases: Any) -> None:
    """Replaces a function by one that announces each call before it is made."""
    function = getattr(module, name)

    @functools.wraps(function)
    def told(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(OSError):
            phases.send(phase)
        return function(*arguments, **options)

    setattr(module, name, told)


def _work(arguments: list[str], output: str, phases: Any, limit: int) -> None:
    """Does the same as `python -m aftrans_jax.main`, with the tiny trunk."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's ignoring it is inherited
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = XLA_FLAGS
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE)  # a kill may leave half an entry there
    import jax
    from experiments import tiny_variants

    from aftrans_jax import main
    from aftrans_jax.experiment import evaluator
    from aftrans_jax.run import launch, results, sessions
    from aftrans_jax.training import checkpoints

    _announce(launch, "build", "build", phases)
    _announce(sessions, "train", "train", phases)
    _announce(checkpoints.Checkpoints, "save", "save", phases)
    _announce(evaluator.Evaluator, "evaluate", "evaluate", phases)
    _announce(results, "write_report", "report", phases)
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    phases.send("start")
    sys.argv = ["main", *arguments]
    try:
        with tiny_variants():
            main.main(main.parse_flags(sys.argv))
    finally:
        jax.distributed.shutdown()  # as at an ordinary exit, which `multiprocessing` has not


class Outcome(NamedTuple):
    """The exit code of a run, what it printed, and the phases it came to."""

    code: int
    output: str
    phases: list[str]


@functools.cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["processes", "experiments", "aftrans_jax.main", "aftrans_jax.run.launch"]
    )
    return context


class Run:
    """A run in a process of its own: started at once, to be waited for or sent signals."""

    def __init__(
        self, workdir: Path, *arguments: str, limit: int = 0, folder: Path | None = None
    ) -> None:
        """Starts it; `limit` is the largest size of a file in bytes, 0 for none.

        The configuration and what is printed go to `folder`, by default the one around the workdir.
        """
        folder = folder or workdir.parent
        self._output = folder / "output.txt"
        self._output.write_text("")
        self._phases, sending = multiprocessing.Pipe(duplex=False)
        config = configuration(folder)
        given = [f"--config={config}", f"--workdir={workdir}", *arguments]
        self._process = _context().Process(
            target=_work, args=(given, str(self._output), sending, limit)
        )
        self._process.start()
        sending.close()
        self.seen: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def reaches(self, phase: str, times: int = 1) -> bool:
        """Waits until the run has come to a phase so many times; False if it ended before."""
        with contextlib.suppress(EOFError):
            while self.seen.count(phase) < times:
                if not self._phases.poll(120):
                    raise TimeoutError(f"no {phase} within two minutes")
                self.seen.append(self._phases.recv())
            return True
        return False

    def wait(self) -> Outcome:
        """Waits for its end."""
        self._process.join(180)
        if self._process.is_alive():
            self._process.kill()
            raise TimeoutError(f"still running after three minutes:\n{self._output.read_text()}")
        return Outcome(self._process.exitcode, self._output.read_text(), self.seen)


def problems(workdir: Path, reference: Path) -> str | None:
    """Returns how a finished run differs from an undisturbed one, None where it does not."""
    from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
    from aftrans_jax.training.checkpoint_reading import checksum, read_arrays

    folders = [folder / "checkpoints" for folder in (workdir, reference)]
    if checkpoint_numbers(folders[0])[-1:] != [STEPS]:
        return f"checkpoints {checkpoint_numbers(folders[0])}"
    sums = [checksum(read_arrays(folder / str(STEPS))) for folder in folders]
    if sums[0] != sums[1]:
        return "the final state is another one"
    if left := [str(path) for path in workdir.rglob("*tmp*")]:
        return f"left over: {left}"
    records = [_records(folder / "metrics.jsonl") for folder in (workdir, reference)]
    if records[0] != records[1]:
        return f"metrics.jsonl: {records}"
    for path in workdir.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    result, expected = (
        json.loads((folder / "result.json").read_text()) for folder in (workdir, reference)
    )
    scores = [key for key in expected if key.endswith(("_accuracy", "loss", "_mean"))]
    different = [key for key in scores if result[key] != expected[key]]
    return f"result.json: {different}" if different else None


def _records(path: Path) -> dict[int, float]:
    """The loss of each step; a line that a kill cut short is passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if record["split"] == "train":
                found[record["step"]] = record["loss"]
    return found


@functools.cache
def undisturbed() -> Path:
    """Returns the directory of an undisturbed run, made once."""
    workdir = Path(tempfile.mkdtemp()) / "reference"
    outcome = Run(workdir).wait()
    if outcome.code:
        raise RuntimeError(outcome.output)
    return workdir
