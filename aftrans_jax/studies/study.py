"""A study from its file to its table: trains what is not finished, with a line per training."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

from aftrans_jax.experiment.data import has_boxes, load_dataset
from aftrans_jax.experiment.model import ANNOTATED
from aftrans_jax.model.heads import HEADS
from aftrans_jax.studies.plan import Run, expected_seconds, is_finished
from aftrans_jax.studies.processes import Job, record_moved, train_all

Say = Callable[[str], None]  # shows a line


class StudyProgress:
    """Shows a line for each run of a study that starts or ends, with the time that is left."""

    def __init__(self, runs: Sequence[Run], *, num_jobs: int, say: Say) -> None:
        """Sorts the runs into finished ones and others.

        Args:
          runs: runs of the study, in their order.
          num_jobs: number of trainings at a time.
          say: shows a line.
        """
        self._runs = runs
        self._num_jobs = num_jobs
        self._say = say
        self._began = time.monotonic()
        self.failures: list[Run] = []
        self.finished: list[Run] = []
        self.open: list[Run] = []
        for run in runs:
            try:
                (self.finished if is_finished(run) else self.open).append(run)
            except ValueError as error:
                self._fail(run, str(error))

    def summary(self) -> str:
        """Returns how many runs are finished and refused, and how long the others will take."""
        refused = f"{len(self.failures)} cannot be trained; " if self.failures else ""
        return (
            f"{len(self.finished)} of {len(self._runs)} runs are finished; {refused}the others "
            f"take {self._left()}"
        )

    def state(self, run: Run) -> str:
        """Returns whether a run is finished, in words, with its accuracies."""
        if run in self.failures:
            return "refused"
        if run in self.finished:
            return f"finished: {accuracies(run)}"
        has_begun = run.trained is None and (run.workdir / "checkpoints").exists()
        return "started" if has_begun else "to do"

    def started(self, job: Job) -> None:
        """Shows that a training has begun."""
        how = "another process trains there, waiting for it" if job.is_elsewhere else job.log
        self._say(f"{self._number(job.run)} {job.run.name}: {how}")

    def ended(self, run: Run, seconds: float, problem: str | None) -> None:
        """Shows how a training ended."""
        self.open = [other for other in self.open if other is not run]
        try:
            is_done = problem is None and is_finished(run)
        except ValueError as error:
            is_done = False
            problem = str(error)
        if is_done:
            self.finished.append(run)
            elapsed = duration(time.monotonic() - self._began)
            self._say(
                f"{self._number(run)} {run.name}: {accuracies(run)} in {duration(seconds)}; "
                f"elapsed {elapsed}, left {self._left()}"
            )
        else:
            self._fail(run, problem or "it ended without a result")

    def _fail(self, run: Run, problem: str) -> None:
        self.failures.append(run)
        self._say(f"{self._number(run)} {run.name} FAILED: {problem}")

    def _number(self, run: Run) -> str:
        place = next(i for i, other in enumerate(self._runs, start=1) if other is run)
        return f"[{place}/{len(self._runs)}]"

    def _left(self) -> str:
        seconds = expected_seconds(self.open, self.finished)
        if not self.open:
            return "nothing"
        return (
            "an unknown time" if seconds is None else f"about {duration(seconds / self._num_jobs)}"
        )


class TableWriter:
    """Writes the table of a study while trainings run, in at most a tenth of the time."""

    def __init__(self, write: Callable[[Sequence[Run]], None], say: Say) -> None:
        self._write = write
        self._say = say
        self._due = 0.0
        self._num_runs = 0
        self.problems: list[str] = []  # names of what failed the last time

    def update(self, finished: Sequence[Run], *, at_once: bool = False) -> None:
        """Writes the table if there are newly finished runs and it is due, or forced by `at_once`.

        A table that cannot be written is reported; `problems` names it.
        """
        began = time.monotonic()
        if len(finished) == self._num_runs or not (at_once or began >= self._due):
            return
        self.problems = []
        try:
            self._write(finished)
        except Exception as error:  # any: a table must not end the trainings
            self.problems = ["the table"]
            self._say(f"the table FAILED: {type(error).__name__}: {error}")
        ended = time.monotonic()
        self._due = ended + 9 * (ended - began)
        self._num_runs = len(finished)


def run_study(
    runs: Sequence[Run],
    *,
    num_jobs: int,
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    write_table: Callable[[Sequence[Run]], None],
    say: Say,
) -> tuple[list[str], int]:
    """Trains what is not finished and writes the table, see `TableWriter`, once more at the end.

    Args:
      runs: runs of the study, in their order.
      num_jobs: number of trainings at a time.
      command: training command, see `studies.processes.Job`.
      environment: environment of the trainings.
      write_table: writes the table of the finished runs.
      say: shows a line.

    Returns:
      The names of what failed, runs or the table, and the signal that ended it, else 0.
    """
    progress = StudyProgress(runs, num_jobs=num_jobs, say=say)
    say(progress.summary())
    for run in progress.finished:  # they have no process that would
        record_moved(run)
    table = TableWriter(write_table, say)
    table.update(progress.finished)

    def ended(run: Run, seconds: float, problem: str | None) -> None:
        progress.ended(run, seconds, problem)
        table.update(progress.finished)

    number = train_all(
        list(progress.open),
        num_jobs=num_jobs,
        command=command,
        environment=environment,
        started=progress.started,
        ended=ended,
    )
    table.update(progress.finished, at_once=True)
    return [run.name for run in progress.failures] + table.problems, number


def accuracies(run: Run) -> str:
    """Returns the test accuracies of a finished run, such as "global 87.2 %"."""
    result = run.result() or {}
    by_head = {head: result.get(f"{head}_accuracy") for head in HEADS}
    return "  ".join(f"{head} {value:.1%}" for head, value in by_head.items() if value is not None)


def duration(seconds: float) -> str:
    """Returns a time such as "1:02:03"."""
    return tqdm.format_interval(seconds)


def with_boxes(runs: Sequence[Run], say: Say) -> list[Run]:
    """Returns runs without those that crop annotated boxes where their data set has none.

    Rows left out are reported. Where the data set cannot be read its rows stay, and fail on their
    own.
    """
    bare: dict[str, bool] = {}  # by row
    for run in runs:
        if run.config.region.method == ANNOTATED and run.row not in bare:
            config = copy.deepcopy(run.config)
            config.data.cache = "none"
            try:
                bare[run.row] = not has_boxes(load_dataset(config)[0])
            except (OSError, ValueError):
                bare[run.row] = False
            if bare[run.row]:
                say(f"{run.row} is left out: {config.data.name!r} has no annotated boxes")
    return [run for run in runs if not bare.get(run.row)]


def dry_run(runs: Sequence[Run], *, num_jobs: int, say: Say) -> list[str]:
    """Reports which runs there are, which are finished, and how long the others take.

    Returns:
      The names of those that would fail, because their directory holds something else.
    """
    progress = StudyProgress(runs, num_jobs=num_jobs, say=say)
    for number, run in enumerate(runs, start=1):
        say(f"[{number}/{len(runs)}] {run.name}: {progress.state(run)}  {run.workdir}")
    say(progress.summary())
    return [run.name for run in progress.failures]
