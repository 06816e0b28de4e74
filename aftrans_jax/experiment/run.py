"""One run, from its start or resumption to the report; `main` calls it with what `build` made."""

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from clu import parameter_overview

from aftrans_jax.experiment.parts import Experiment
from aftrans_jax.experiment.results import devices, summary, write_results
from aftrans_jax.training.actions import EvaluateAndSave, Report, Stopwatch, scored
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.loop import StopRequest, train
from aftrans_jax.training.reporting import MetricsLog, Progress, write_json
from aftrans_jax.training.sharding import replicate
from aftrans_jax.training.state import TrainState

# What decides which images are in which split, and what the model sees of them.
_KEPT = {
    *("data.validation_fraction", "data.test_fraction", "data.split_seed", "data.supercategory"),
    *("data.resize_ratio", "data.mean", "data.std"),
}


def run(
    experiment: Experiment, workdir: Path, *, mode: str, settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Returns what result.json holds, or None when a signal stopped the training before its end.

    The same call starts a run, resumes it and, once it is finished, evaluates it again.

    Args:
      experiment: as `build` returns it.
      workdir: holds config.json, classes.json, parameters.txt, metrics.jsonl, checkpoints/, report/
        and result.json afterwards; checkpoints that it holds already are resumed.
      mode: "train", or "eval" to score the newest checkpoint.
      settings: the configuration as plain values, written to config.json.

    Raises:
      FileNotFoundError: "eval" without a checkpoint.
      ValueError, OSError, FloatingPointError: from reading images, checkpoints and training.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    best_score = f"{experiment.plan.predict_from}_accuracy"
    # Closing waits for checkpoints that are still being written, also after an error.
    with contextlib.closing(Checkpoints(workdir / "checkpoints", best_score=best_score)) as opened:
        return _run(experiment, workdir, opened, mode, settings)


def _run(
    experiment: Experiment,
    workdir: Path,
    checkpoints: Checkpoints,
    mode: str,
    settings: Mapping[str, Any],
) -> dict[str, Any] | None:
    began, plan = time.monotonic(), experiment.plan
    progress = Progress(plan.num_steps)
    state, restored = _start(experiment, checkpoints)
    if mode == "eval" and not restored:
        raise FileNotFoundError(
            f"--mode=eval finds no checkpoint in {checkpoints.directory}: train first, or pass "
            "the --workdir of a run that was trained"
        )
    changes = _changes(workdir / "config.json", settings) if restored else {}
    if restored:
        _check_same_data(workdir, experiment.dataset.class_names, changes)
    for line in _description(experiment, state, workdir, changes):
        progress.say(line)
    if jax.process_index() == 0:
        write_json(workdir / "config.json", settings)
        write_json(workdir / "classes.json", experiment.dataset.class_names)
        overview = parameter_overview.get_parameter_overview(state.params)
        (workdir / "parameters.txt").write_text(overview + "\n", encoding="utf-8")
    log = MetricsLog(workdir, tensorboard=plan.tensorboard)
    report, evaluate_and_save = _actions(experiment, checkpoints, log, progress)
    speed = math.nan
    if mode == "train":
        state, speed = _train(experiment, state, report, evaluate_and_save, progress)
        if int(state.step) < plan.num_steps:
            progress.say(f"stopped and saved at step {int(state.step)}: the same command resumes")
            return None
    evaluation, figures = evaluate_and_save.evaluate(state), {}
    if experiment.dataset.validation is not None:
        best, figures["validation"] = checkpoints.best_of(state, evaluation.scores)
        state = replicate(best, experiment.mesh)
        progress.say(f"best on the validation images: step {int(state.step)}")
        evaluation = scored(experiment.evaluate["test"], state, "test", log, progress)
    figures |= {"images_per_second": speed, "seconds": time.monotonic() - began}
    result = summary(experiment, state, evaluation, settings) | figures
    if jax.process_index() == 0:
        write_results(workdir, experiment.dataset, result, evaluation, log)
    for split, names in result["skipped_images"].items():
        if names:
            shown = ", ".join(names[:3])
            progress.say(f"skipped {len(names)} unreadable {split} images, the first: {shown}")
    progress.say(f"report: {(workdir / 'report' / 'index.html').resolve()}")
    return result


def _start(experiment: Experiment, checkpoints: Checkpoints) -> tuple[TrainState, bool]:
    restored = checkpoints.restore_latest(experiment.state)
    state = experiment.state if restored is None else restored
    return replicate(state, experiment.mesh), restored is not None


def _check_same_data(
    workdir: Path, class_names: Sequence[str], changes: Mapping[str, tuple[Any, Any]]
) -> None:
    """Raises ValueError where classes, splits or preprocessing are not those of the run so far.

    Other classes would fit the head unnoticed; another split could test on training images.
    """
    path = workdir / "classes.json"
    trained = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if trained not in (None, list(class_names)):
        raise ValueError(
            f"{path} names other classes, or in another order, than the data: expected the data "
            "set that this workdir was trained on. Name it, or choose another --workdir"
        )
    for key in sorted(changes.keys() & _KEPT):
        old, new = changes[key]
        raise ValueError(
            f"{key} was {old!r} when {workdir} was trained and is now {new!r}: expected the same "
            "images in every split, prepared alike. Set it back, or choose another --workdir"
        )


def _description(
    experiment: Experiment,
    state: TrainState,
    workdir: Path,
    changes: Mapping[str, tuple[Any, Any]],
) -> list[str]:
    """Returns what a user should know before the first step, a line each."""
    dataset, plan = experiment.dataset, experiment.plan
    params = parameter_overview.count_parameters(state.params)
    lines = [
        f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test images, "
        f"{len(dataset.class_names)} classes",
        f"{plan.model_name}: {params:,} parameters, {plan.dtype}, on {devices()}",
        *experiment.notes,
    ]
    if (number := int(state.batch_number)) > 0:
        lines.append(f"resuming {workdir} after batch {number}, step {int(state.step)}")
        lines += [f"note: {key} was {old!r}, is now {new!r}" for key, (old, new) in changes.items()]
    return lines


def _changes(path: Path, settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns each setting that differs from the last start of the run: its value then and now."""
    if not path.exists():
        return {}
    old, new = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(settings))
    flat_old, flat_new = (_flat(tree) for tree in (old, new))
    return {
        key: (flat_old[key], flat_new[key])
        for key in sorted(flat_old.keys() & flat_new.keys())
        if flat_old[key] != flat_new[key]
    }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _actions(
    experiment: Experiment, checkpoints: Checkpoints, log: MetricsLog, progress: Progress
) -> tuple[Report, EvaluateAndSave]:
    plan, stopwatch = experiment.plan, Stopwatch()
    split = "test" if experiment.dataset.validation is None else "validation"
    report = Report(
        plan.report_every,
        batch_size=plan.batch_size,
        schedule=experiment.schedule,
        stopwatch=stopwatch,
        log=log,
        progress=progress,
    )
    evaluate_and_save = EvaluateAndSave(
        num_steps=plan.num_steps,
        evaluate_every=plan.evaluate_every,
        save_every=plan.save_every,
        evaluate=experiment.evaluate[split],
        split=split,
        checkpoints=checkpoints,
        stopwatch=stopwatch,
        log=log,
        progress=progress,
    )
    return report, evaluate_and_save


def _train(
    experiment: Experiment,
    state: TrainState,
    report: Report,
    evaluate_and_save: EvaluateAndSave,
    progress: Progress,
) -> tuple[TrainState, float]:
    """Returns the trained state and the images per second; saved if it was stopped early."""
    plan = experiment.plan
    progress.start(int(state.step))
    with StopRequest(agree_every=plan.report_every) as stop:
        state = train(
            state,
            step_fn=experiment.train_step,
            batches=experiment.train_batches(int(state.batch_number)),
            num_steps=plan.num_steps,
            actions=(report, evaluate_and_save),
            should_stop=stop,
        )
    report.finish(state)
    progress.close()
    if int(state.step) < plan.num_steps:
        evaluate_and_save.save(state)
    return state, report.images_per_second()
