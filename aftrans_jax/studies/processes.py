"""Runs of a study as separate processes, a few at a time; trainings can be resumed."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from aftrans_jax.files import make_folder
from aftrans_jax.json_files import write_json
from aftrans_jax.settings import flat
from aftrans_jax.studies.definition import ANNOTATED_BOXES
from aftrans_jax.studies.plan import Run, is_finished, moved_photos
from aftrans_jax.workdir.contents import check_contents
from aftrans_jax.workdir.lock import locked
from aftrans_jax.workdir.record import trained_settings
from aftrans_jax.workdir.setting_changes import record_kept

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PAUSE = 0.2  # seconds between two polls of the processes


class Job:
    """One run: its process, or another process that already trains in its directory.

    A study that is killed leaves its trainings running; the next one waits for them.
    """

    def __init__(
        self, run: Run, command: Sequence[str], environment: Mapping[str, str] | None
    ) -> None:
        """Starts the process; its output goes to a file beside its directory.

        Args:
          run: run of a study.
          command: training command, to which `--workdir` is added, and the flags of an evaluation
            or the settings that differ from the directory's record.
          environment: environment of the process; None for this one's.

        Raises:
          OSError: the directory cannot be written.
          ValueError: it holds a run of other settings, or other files, or the training to evaluate
            is missing.
        """
        self.run = run
        self.log = run.log
        self.began = time.monotonic()
        self._command = [*command, f"--workdir={run.workdir}"]
        self._environment = environment
        self._process: subprocess.Popen | None = None
        self._log_start = 0  # bytes of the log that are of earlier attempts
        check_contents(run.workdir)  # before a record is written there
        make_folder(run.workdir)
        self._start()

    def _start(self) -> None:
        try:
            with locked(self.run.workdir):
                more = _training(self.run) if self.run.trained is None else _evaluation(self.run)
        except BlockingIOError:
            return  # tried again
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*self._command, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                process_group=0,  # Ctrl-C only reaches the study, which passes it on
            )

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process trains in the directory."""
        return self._process is None

    def exit_code(self) -> int | None:
        """Returns the exit code of the training, None while it runs."""
        if self._process is None:
            self._start()
        return None if self._process is None else self._process.poll()

    def terminate(self) -> None:
        """Tells the process to save and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Waits for the end of the process."""
        if self._process is not None:
            self._process.wait()

    def problem(self, code: int) -> str:
        """Returns why the training failed, in one line."""
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        output = self.log.read_bytes()[self._log_start :]
        lines = output.decode(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("error: ")] or lines[-1:] or [""]
        return f"{how}: {errors[-1].removeprefix('error: ')} (all that it said: {self.log})"


def _training(run: Run) -> list[str]:
    """Returns the arguments to start or resume a training; a new one's settings are written.

    The record of a training is not changed: the training itself compares it with its arguments.
    """
    is_finished(run)  # raises where the directory holds other settings
    settings = run.config.to_dict()
    recorded = trained_settings(run.workdir)
    if not recorded:
        write_json(run.workdir / "config.json", settings)
    changed = {key: new for key, new in flat(settings).items() if recorded.get(key, new) != new}
    return [f"--config.{key}={value}" for key, value in changed.items()]


def _evaluation(run: Run) -> list[str]:
    """Returns the arguments to evaluate a run; records the folder of its photos.

    Given as an argument, that folder would count as another set, not the run's own.
    """
    if run.trained is not None and not is_finished(run.trained):
        raise ValueError(f"{run.trained.name} is not finished, which it evaluates")
    record_moved(run)
    return ["--mode=eval", *(f"--config.{key}={value}" for key, value in ANNOTATED_BOXES.items())]


def record_moved(run: Run) -> None:
    """Records the present folder of the photos in the directory of a finished run.

    Raises:
      OSError: the record cannot be written.
    """
    if moved := moved_photos(run):
        record_kept(run.workdir, {"data.dir": moved})


class Stop:
    """Notes the first signal that would end the program while its `with` block runs.

    SIGHUP stays ignored where it is, as by nohup.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stop":
        self._previous = {
            number: signal.signal(number, self._note)
            for number in _SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = self.signal or number


def train_all(
    runs: Sequence[Run],
    *,
    num_jobs: int,
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    started: Callable[[Job], None],
    ended: Callable[[Run, float, str | None], None],
) -> int:
    """Trains runs in their order, `num_jobs` at a time; one that fails does not stop the others.

    An evaluation waits for the training that it evaluates.

    Args:
      runs: runs that are not finished.
      num_jobs: number of processes at a time.
      command: training command, see `Job`.
      environment: environment of the processes.
      started: called with each training that begins.
      ended: called with each that has ended, its seconds and what went wrong, if anything.

    Returns:
        The number of a signal, after which the trainings have saved and ended; else 0.
    """
    waiting: list[Run] = list(runs)
    active: list[Job] = []
    with Stop() as stop, contextlib.ExitStack() as ending:
        ending.callback(_end, active)
        while (waiting or active) and not stop.signal:
            while len(active) < num_jobs and (run := _next(waiting, active)) is not None:
                waiting = [other for other in waiting if other is not run]
                try:
                    active.append(Job(run, command, environment))
                    started(active[-1])
                except (OSError, ValueError) as error:
                    ended(run, 0.0, str(error))
            time.sleep(_PAUSE)
            for job in list(active):
                try:
                    code = job.exit_code()
                    problem = job.problem(code) if code else None
                except (OSError, ValueError) as error:  # of one that waited for its directory
                    code = 1
                    problem = str(error)
                if code is not None and not stop.signal:
                    active.remove(job)
                    ended(job.run, time.monotonic() - job.began, problem)
    return stop.signal


def _next(waiting: Sequence[Run], active: Sequence[Job]) -> Run | None:
    """Returns the first run that does not wait for another one."""
    unfinished = [*waiting, *(job.run for job in active)]
    free = (run for run in waiting if not any(run.trained is other for other in unfinished))
    return next(free, None)


def _end(jobs: Sequence[Job]) -> None:
    """Tells trainings to save and end, and waits for them."""
    for job in jobs:
        job.terminate()
    for job in jobs:
        job.wait()
