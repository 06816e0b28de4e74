"""What one process does for a training: restore, train, evaluate, save."""

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.experiment.build import Experiment
from aftrans_jax.run.results import skipped_images
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.training.actions import Report, SaveAndEvaluate, Stopwatch, scored
from aftrans_jax.training.checkpoint_writing import check_room
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.loop import train
from aftrans_jax.training.records import DamagedRecordError, read_json, write_json
from aftrans_jax.training.reporting import MetricsLog, Progress
from aftrans_jax.training.sharding import placed
from aftrans_jax.training.state import TrainState


class Session:
    """The checkpoints, the log and the actions of a training in its directory.

    Attributes:
      progress: shows lines to the user.
      log: of metrics.
    """

    def __init__(
        self, experiment: Experiment, workdir: Path, progress: Progress, stop: StopRequest
    ) -> None:
        """Opens the directory; nothing is written before `train` or `evaluate`."""
        plan = experiment.plan
        self._experiment, self._workdir, self._stop = experiment, workdir, stop
        self.progress = progress
        self.log = MetricsLog(workdir, tensorboard=plan.tensorboard)
        self._split = "test" if experiment.dataset.validation is None else "validation"
        best_by = f"{plan.predict_from}_accuracy" if self._split == "validation" else None
        # Precision moves scores by rounding alone; the mirror image raises them.
        made_by = "an image and its mirror image" if experiment.settings["eval"]["mirror"] else ""
        self._checkpoints = Checkpoints(
            workdir / "checkpoints",
            best_by=best_by,
            made_by=made_by,
            precision=plan.dtype,
            say=progress.say,
        )
        stopwatch = Stopwatch()
        self._report = Report(
            every=plan.report_every,
            batch_size=plan.batch_size,
            peak_speed=plan.peak_speed,
            schedule=jax.jit(experiment.schedule),  # one program, not one for each operation
            largest_loss=plan.largest_loss,
            way_back=self._checkpoints.way_back,
            stopwatch=stopwatch,
            log=self.log,
            progress=progress,
        )
        self._save_and_evaluate = SaveAndEvaluate(
            num_steps=plan.num_steps,
            evaluate_every=plan.evaluate_every,
            save_every=plan.save_every,
            scored=lambda state: self._scored(state, self._split),
            is_sound=self._report.in_range,
            saved=self._note_saved,
            while_evaluating=stop.immediate,
            checkpoints=self._checkpoints,
            stopwatch=stopwatch,
        )
        self._skipped_before = _read_skipped(workdir / "skipped_images.json", progress)

    def start(self) -> tuple[TrainState, bool]:
        """Returns the state to go on from, on the devices, and whether it is a saved one."""
        self._checkpoints.remove_unfinished()
        restored = self._checkpoints.restore_latest(self._experiment.state, set_aside=True)
        self._checkpoints.scores.keep_only(self._checkpoints.numbers())
        state = self._experiment.state if restored is None else restored.state
        if restored is not None:
            self._stop.saved = _saved(state)
        return self._placed(state), restored is not None

    def train(self, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """Returns the trained and saved state, and the speed, see `Report.speed`.

        Raises:
          Stopped: a signal has come; the state is saved.
          FloatingPointError: the training diverged.
        """
        with self._stop.deferring(), contextlib.closing(self.progress):
            self._save_and_evaluate.catch_up(state)
            if not self.stops_early(state):
                state = self._trained(state)
            if self.stops_early(state):
                self.progress.say(
                    f"stopped early at step {int(state.step)}: no better "
                    f"{self._experiment.plan.predict_from}_accuracy in "
                    f"{self._experiment.plan.patience} evaluations of the validation images"
                )
        return state, self._report.speed()

    def stops_early(self, state: TrainState) -> bool:
        """Returns whether `patience` ends the training at a state, before all steps."""
        is_short = int(state.step) < self._experiment.plan.num_steps
        return is_short and self._has_waited(int(state.batch_number))

    def evaluate(self, state: TrainState) -> tuple[tuple[TrainState, Evaluation], dict[str, Any]]:
        """Returns the state to report with its evaluation on the test split, and more figures.

        With a hold-out that is the checkpoint with the best score there, else this state, which is
        saved.
        """
        if self._split == "test":
            return (state, self._save_and_evaluate.evaluate(state)), {}
        figures: dict[str, Any] = {"validation": self._validation_scores(state)}
        if self.stops_early(state):
            figures["stopped_at_step"] = int(state.step)
        best = self._checkpoints.restore_best(self._experiment.state, set_aside=True)
        if best is not None:
            state, figures["validation"] = self._placed(best.state), dict(best.scores)
        self.progress.say(f"best on the validation images: step {int(state.step)}")
        return (state, self._scored(state, "test")), figures

    def skipped_images(self) -> dict[str, list[str]]:
        """Returns the names of unreadable images by split, those of interrupted runs included."""
        now = skipped_images(self._experiment)
        return {
            split: sorted({*self._skipped_before.get(split, []), *names})
            for split, names in now.items()
        }

    def close(self, *, together: bool) -> None:
        """Waits until everything is written.

        Args:
          together: whether all processes close; a checkpoint that is still being written would wait
            for them. One that is cut off is passed over when the run goes on.
        """
        if together:
            self._checkpoints.close()
        self.log.close()

    def _placed(self, state: TrainState) -> TrainState:
        return placed(state, self._experiment.mesh, self._experiment.specs)

    def _scored(self, state: TrainState, split: str) -> Evaluation:
        return scored(self._experiment.evaluate[split], state, split, self.log, self.progress)

    def _trained(self, state: TrainState) -> TrainState:
        """Returns the saved state after all steps, or after those up to a stop."""
        plan, stop = self._experiment.plan, self._stop
        stop.agree_every = plan.report_every
        check_room(self._checkpoints.directory, state)  # before the minutes of compiling
        self.progress.say("loading the first batch")
        batches = self._experiment.train_batches(int(state.batch_number))
        batches = itertools.chain([next(batches)], batches)
        self.progress.say("compiling the training step: a minute or more the first time")
        self.progress.start(int(state.step))
        state = train(
            state,
            step_fn=self._experiment.train_step,
            batches=batches,
            num_steps=plan.num_steps,
            actions=(self._report, self._save_and_evaluate),
            should_stop=lambda number: stop(number) or self._has_waited(number),
        )
        self._report.finish(state)
        self._save_and_evaluate.save(state)
        return state

    def _validation_scores(self, state: TrainState) -> Mapping[str, float]:
        """Returns the scores of a saved state, known of one that was stopped early."""
        known = self._checkpoints.scores.of(int(state.batch_number))
        return known or self._save_and_evaluate.evaluate(state).scores

    def _has_waited(self, number: int) -> bool:
        waited, patience = self._checkpoints.scores.waited(number), self._experiment.plan.patience
        return 0 < patience <= waited

    def _note_saved(self, state: TrainState) -> None:
        self._stop.saved = _saved(state)
        if self._experiment.skipped:
            names = self.skipped_images()
            if jax.process_index() == 0:
                write_json(self._workdir / "skipped_images.json", names)


def _saved(state: TrainState) -> str:
    return f"stopped and saved at step {int(state.step)}: the same command resumes"


def _read_skipped(path: Path, progress: Progress) -> dict[str, list[str]]:
    def is_sound(value: Any) -> bool:
        lists = value.values() if isinstance(value, dict) else [None]
        return all(isinstance(x, list) and all(isinstance(y, str) for y in x) for x in lists)

    try:
        return read_json(path, is_sound, "the names of unreadable images by split")
    except FileNotFoundError:
        return {}
    except DamagedRecordError as error:
        progress.say(f"note: {error}. Going on without them")
        return {}
