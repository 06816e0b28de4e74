"""The work of one process in a training: restore, train, evaluate, save."""

import contextlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.experiment.build import Experiment
from aftrans_jax.experiment.model import predicting_head
from aftrans_jax.key_groups import EVAL_VIEWS
from aftrans_jax.run.results import skipped_images
from aftrans_jax.run.signals import Stopped, StopRequest
from aftrans_jax.training.actions import Profile, Report, Stopwatch, show_scores
from aftrans_jax.training.checkpoint_writing import check_room
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.loop import Action, train
from aftrans_jax.training.metrics import Averages
from aftrans_jax.training.reporting import MetricsLog, Progress
from aftrans_jax.training.sharding import placed
from aftrans_jax.training.state import TrainState
from aftrans_jax.workdir.skipped_images import read_skipped_images, write_skipped_images


class Session(contextlib.AbstractContextManager["Session"]):
    """The checkpoints, the log and the actions of a training in its directory.

    Attributes:
      progress: shows lines to the user.
      log: log of metrics.
    """

    def __init__(
        self, experiment: Experiment, workdir: Path, progress: Progress, stop: StopRequest
    ) -> None:
        """Opens the directory; nothing is written before `train` or `evaluate`."""
        config = experiment.config
        self._experiment = experiment
        self._workdir = workdir
        self.stop = stop
        self.progress = progress
        self.log = MetricsLog(workdir, tensorboard=config.report.tensorboard)
        self._patience = config.train.patience
        chooses = experiment.dataset.validation is not None
        self._split = "validation" if chooses else "test"
        self._best_by = f"{predicting_head(config)}_accuracy" if chooses else None
        protocol = ", ".join(f"{key}={config[key]}" for key in EVAL_VIEWS if config[key])
        self._checkpoints = Checkpoints(
            workdir / "checkpoints",
            best_by=self._best_by,
            protocol=protocol,
            precision=experiment.dtype,
            say=progress.say,
        )
        self.stopwatch = Stopwatch()
        self._report = Report(
            every=config.train.report_every,
            batch_size=config.train.batch_size,
            peak_speed=experiment.peak_speed,
            schedule=jax.jit(experiment.schedule),  # one program instead of one for each operation
            largest_loss=experiment.largest_loss,
            recovery_advice=self._checkpoints.recovery_advice,
            stopwatch=self.stopwatch,
            log=self.log,
            progress=progress,
        )
        # Not read from the disk, where some of several hosts may see a checkpoint later.
        self._saved_number: int | None = None
        self._skipped_before = read_skipped_images(workdir, progress.say)

    def start(self) -> tuple[TrainState, bool]:
        """Returns the state to start from, on the devices, and whether it was restored."""
        self._checkpoints.remove_unfinished()
        restored = self._checkpoints.restore_latest(self._experiment.state, set_aside=True)
        self._checkpoints.scores.forget_after(self._checkpoints.latest or 0)
        state = self._placed(self._experiment.state if restored is None else restored.state)
        if restored is not None:
            self._saved_number = int(state.batch_number)
            self.stop.saved = _saved(state)
        return state, restored is not None

    def train(self, state: TrainState) -> tuple[TrainState, dict[str, float]]:
        """Returns the trained and saved state, and the speed, see `Report.speed`.

        Raises:
          Stopped: a signal has come; the state is saved.
          FloatingPointError: the training diverged.
        """
        with self.stop.deferring(), contextlib.closing(self.progress):
            self._catch_up(state)
            if not (self.stop(0) or self.stops_early(state)):
                state = self._trained(state)
            if self.stops_early(state):
                self.progress.say(
                    f"stopped early at step {int(state.step)}: no better {self._best_by} in "
                    f"{self._patience} evaluations of the validation images"
                )
        return state, self._report.speed()

    def stops_early(self, state: TrainState) -> bool:
        """Returns whether `patience` ends the training at a state, before all steps."""
        is_short = int(state.step) < self._experiment.config.train.steps
        return is_short and self._has_waited(int(state.batch_number))

    def evaluate(self, state: TrainState) -> tuple[tuple[TrainState, Evaluation], dict[str, Any]]:
        """Returns the state to report with its evaluation on the test split, and further scores.

        With a validation split this is the checkpoint that scores best on it, else the saved state.

        Raises:
          Stopped: a signal has come.
          OSError: the state cannot be written; else a run could be called finished without it.
        """
        figures: dict[str, Any] = {}
        with self.stop.deferring():
            if self._split == "test":
                evaluation = self._evaluate_saved(state)
            else:
                figures["validation"] = self._validation_scores(state)
                if self.stops_early(state):
                    figures["stopped_at_step"] = int(state.step)
                best = self._checkpoints.restore_best(self._experiment.state, set_aside=True)
                if best is not None:
                    state = self._placed(best.state)
                    figures["validation"] = dict(best.scores)
                self.progress.say(f"best on the validation images: step {int(state.step)}")
                evaluation = self._scored(state, "test")
            self._checkpoints.numbers()  # once they are written
        return (state, evaluation), figures

    def skipped_images(self) -> dict[str, list[str]]:
        """Returns the names of unreadable images by split, those of interrupted runs included."""
        now = skipped_images(self._experiment)
        return {
            split: sorted({*self._skipped_before.get(split, []), *names})
            for split, names in now.items()
        }

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Waits until everything is written.

        Where this process leaves alone, a checkpoint that is still being written is cut off, since
        it would wait for the others; it is skipped when the run resumes.
        """
        together = error is None or jax.process_count() == 1 or getattr(error, "agreed", False)
        stops = error is None or isinstance(error, Stopped)
        with self.stop.deferring(agreeing=together, raising=stops):
            if together:
                self._checkpoints.close()
            self.log.close()

    def _placed(self, state: TrainState) -> TrainState:
        return placed(state, self._experiment.mesh, self._experiment.specs)

    def _scored(self, state: TrainState, split: str) -> Evaluation:
        """Returns the evaluation of a saved state on a split, written and shown."""
        with self.stop.immediate():
            self.progress.say(f"evaluating the {split} images")
            evaluation = self._experiment.evaluator.evaluate(state, split)
        self.log.write(int(state.step), split, evaluation.scores)
        show_scores(evaluation, int(state.step), split, self.progress)
        return evaluation

    def _trained(self, state: TrainState) -> TrainState:
        """Returns the saved state after the last step, or after the step of a stop."""
        config = self._experiment.config
        stop = self.stop
        stop.agree_every = config.train.report_every
        check_room(self._checkpoints.directory, state)  # before the minutes of compiling
        self.progress.say("loading the first batch")
        batches = self._experiment.train_batches(int(state.batch_number))
        batches = itertools.chain([next(batches)], batches)
        self.progress.say("compiling the training step: a minute or more the first time")
        self.progress.start(int(state.step))
        actions: list[Action] = [self._report, self._save_and_evaluate]
        with contextlib.ExitStack() as until_trained:
            if config.train.profile and jax.process_index() == 0:
                profile = Profile(self._workdir / "profile", self.stopwatch)
                actions.append(until_trained.enter_context(contextlib.closing(profile)))
            state = train(
                state,
                step_fn=self._experiment.train_step,
                batches=batches,
                num_steps=config.train.steps,
                actions=actions,
                should_stop=lambda number: stop(number) or self._has_waited(number),
            )
            self._report.finish(state)
        self._save(state)
        if note := self._report.divergence():
            self.progress.say(f"note: {note}")
        return state

    def _save_and_evaluate(self, number: int, state: TrainState, averages: Averages) -> None:
        """Saves and scores the state where that is due; the run's end does so for the last one.

        Evaluations come after saving, so that an interrupted evaluation loses no training.
        """
        del averages
        config = self._experiment.config
        evaluate = self._is_due(number)
        save = number % config.train.save_every == 0
        if not (evaluate or save) or int(state.step) >= config.train.steps:
            return  # nothing is due, or it is the last state
        with self.stopwatch.paused(state):
            self._save(state)
            if evaluate:
                self._evaluate_saved(state)

    def _is_due(self, number: int) -> bool:
        return number % self._experiment.config.eval.every == 0

    def _catch_up(self, state: TrainState) -> None:
        """Evaluates a restored state whose evaluation was due and was interrupted."""
        number = int(state.batch_number)
        if number > 0 and self._is_due(number) and self._checkpoints.scores.of(number) is None:
            self._evaluate_saved(state)

    def _evaluate_saved(self, state: TrainState) -> Evaluation:
        """Returns the evaluation of a saved state, whose scores are kept with the checkpoint."""
        evaluation = self._scored(state, self._split)
        number = int(state.batch_number)
        self._checkpoints.scores.note(number, evaluation.scores, is_due=self._is_due(number))
        return evaluation

    def _save(self, state: TrainState) -> None:
        """Saves a state that is not saved yet, and the names of unreadable images so far."""
        number = int(state.batch_number)
        if number != self._saved_number:
            self._checkpoints.save(number, state, sound=self._report.in_range())
        self._saved_number = number
        self.stop.saved = _saved(state)
        if self._experiment.skipped:
            names = self.skipped_images()
            if jax.process_index() == 0:
                write_skipped_images(self._workdir, names)

    def _validation_scores(self, state: TrainState) -> Mapping[str, float]:
        """Returns the scores of a saved state; after an early stop they are known already."""
        known = self._checkpoints.scores.of(int(state.batch_number))
        return known or self._evaluate_saved(state).scores

    def _has_waited(self, number: int) -> bool:
        return 0 < self._patience <= self._checkpoints.scores.waited(number)


def _saved(state: TrainState) -> str:
    return f"stopped and saved at step {int(state.step)}: the same command resumes"
