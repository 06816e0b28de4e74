"""`--mode=eval`: a trained model scored on its test split, or on another labelled set."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.experiment.parts import Experiment
from aftrans_jax.experiment.results import skipped_images, summary
from aftrans_jax.training.actions import show_scores
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.records import write_json
from aftrans_jax.training.reporting import Progress
from aftrans_jax.training.sharding import replicate


def evaluate_run(
    experiment: Experiment, workdir: Path, *, name: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the scores of the checkpoint that a run reports, written to `eval-<name>.json` alone.

    That is the best one where validation images were held out, else the newest. The run may still
    be training.

    Args:
      experiment: of the run, built with `restores`.
      workdir: of the run.
      name: of the set that is scored.
      settings: the configuration as plain values, written with the scores.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError, OSError: from reading the checkpoint or the images.
    """
    began, plan = time.monotonic(), experiment.plan
    progress = Progress(plan.num_steps)
    best_score = f"{plan.predict_from}_accuracy"
    checkpoints = Checkpoints(workdir / "checkpoints", best_score=best_score, say=progress.say)
    held_out = experiment.dataset.validation is not None
    best = checkpoints.restore_best(experiment.state) if held_out else None
    host = checkpoints.restore_latest(experiment.state) if best is None else best[0]
    if host is None:
        raise FileNotFoundError(no_checkpoint(workdir))
    state = replicate(host, experiment.mesh)
    evaluation = experiment.evaluate["test"](state)
    show_scores(evaluation, int(state.step), name, progress)
    result = summary(experiment, state, evaluation, settings) | {
        "seconds": time.monotonic() - began,
        "skipped_images": skipped_images(experiment),
    }
    path = workdir / f"eval-{name}.json"
    if jax.process_index() == 0:
        write_json(path, result)
    progress.say(f"scores: {path.resolve()}")
    return result


def no_checkpoint(workdir: Path) -> str:
    """Returns what is said where there is nothing to evaluate."""
    return (
        f"--mode=eval finds no checkpoint in {(workdir / 'checkpoints').resolve()}: train first, "
        "or pass the --workdir of a run that was trained"
    )
