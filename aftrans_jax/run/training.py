"""One training, from its start or resumption to the report; `launch` calls it."""

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from clu import parameter_overview

from aftrans_jax.experiment.build import Experiment
from aftrans_jax.files import make_folder, write_bytes
from aftrans_jax.json_files import DamagedRecordError, write_json
from aftrans_jax.run.report_images import shown_images
from aftrans_jax.run.results import devices, recorded_line, summary, write_results
from aftrans_jax.run.sessions import Session
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.settings import flat
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
from aftrans_jax.training.reporting import Progress
from aftrans_jax.training.state import TrainState
from aftrans_jax.workdir.class_names import class_notes, restore_classes
from aftrans_jax.workdir.contents import forget_earlier
from aftrans_jax.workdir.image_folders import check_moved
from aftrans_jax.workdir.image_lists import list_notes, record_lists
from aftrans_jax.workdir.lock import locked
from aftrans_jax.workdir.record import (
    finished_result,
    holds_run,
    note_command,
    read_settings,
    trained_settings,
)
from aftrans_jax.workdir.setting_changes import (
    applied,
    changes,
    check_length,
    check_same_training,
    record_kept,
    unapplied,
)


def run(
    experiment: Experiment, workdir: Path, stop: StopRequest, command: str = ""
) -> dict[str, Any]:
    """Returns the contents of result.json.

    The same call starts a run and resumes it. A finished run is not changed.

    Args:
      experiment: parts of the run, as `build` returns them.
      workdir: directory of the run, with the files that docs/training.md lists; its checkpoints
        are resumed from.
      stop: the program's stop request.
      command: command that started the run, for the record; "" for none.

    Raises:
      Stopped: a signal ended the run early; the training so far is saved.
      ValueError: the directory holds a run of other settings, classes or lists, or a checkpoint
        that does not fit.
      OSError, FloatingPointError: from reading images, checkpoints and training.
    """
    make_folder(workdir)
    is_first = jax.process_index() == 0
    with locked(workdir) if is_first else contextlib.nullcontext():
        notes = _check_record(experiment, workdir)
        if is_first and not checkpoint_numbers(workdir / "checkpoints"):
            forget_earlier(workdir)
        progress = Progress(experiment.config.train.steps)
        with Session(experiment, workdir, progress, stop) as session:
            result = _result(experiment, workdir, session, notes, command)
        if is_first:
            (workdir / "error.log").unlink(missing_ok=True)
    return result


def _result(
    experiment: Experiment,
    workdir: Path,
    session: Session,
    notes: Sequence[str],
    command: str,
) -> dict[str, Any]:
    """Returns the contents of result.json, after training and evaluating what is not yet."""
    began = time.monotonic()
    progress = session.progress
    settings = flat(experiment.config.to_dict())
    num_steps = experiment.config.train.steps
    state, is_resumed = session.start()
    check_length(workdir, int(state.step), settings)  # `launch` knows it of a result alone
    changed = changes(trained_settings(workdir), settings)
    earlier = finished_result(workdir, num_steps)
    # An early end is what its own record says, whatever score decides now.
    ended_early = earlier is not None and earlier.get("stopped_at_step") == int(state.step)
    stops_early = ended_early or session.stops_early(state)
    is_trained = stops_early or int(state.step) >= num_steps
    said = unapplied(workdir, changed) if is_trained and earlier else applied(changed)
    for line in _description(experiment, state, workdir, is_resumed, [*said, *notes]):
        progress.say(line)
    if is_trained and earlier:
        if jax.process_index() == 0:
            record_kept(workdir, changed)
            restore_classes(workdir, experiment.dataset)
        early = " early (train.patience)" if stops_early else ""
        progress.say(f"already finished{early} at step {int(state.step)}: nothing to train")
        progress.say(recorded_line(earlier))
        return earlier
    if jax.process_index() == 0:
        _record(experiment, state, workdir, is_resumed)
        if command:
            note_command(workdir, command)
    session.log.write_settings(settings)
    speed = {"images_per_second": math.nan}
    if not is_trained:
        state, speed = session.train(state)
    evaluation, figures = session.evaluate(state)
    figures |= {**speed, "seconds": time.monotonic() - began}
    result = summary(experiment, *evaluation) | figures
    result["skipped_images"] = session.skipped_images()
    progress.say("writing the report")
    with session.stop.deferring():
        seen = shown_images(experiment, *evaluation)
        if jax.process_index() == 0:
            write_results(workdir, experiment.dataset, result, evaluation[1], seen, session.log)
    for line in _skipped(result["skipped_images"]):
        progress.say(line)
    progress.say(f"report: {(workdir / 'report' / 'index.html').resolve()}")
    return result


def _skipped(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns a line for each split with images that could not be read, given by name."""
    return [
        f"skipped {len(own)} unreadable {split} images, the first: {', '.join(own[:3])}"
        for split, own in names.items()
        if own
    ]


def _check_record(experiment: Experiment, workdir: Path) -> list[str]:
    """Returns notes on the record and the lists of the run so far.

    Raises:
      ValueError: settings, classes or lists are not those of the run so far.
    """
    if not holds_run(workdir):
        return []
    notes: list[str] = []
    try:
        recorded = read_settings(workdir, notes.append)
        changed = changes(recorded or {}, flat(experiment.config.to_dict()))
        # Again after `launch`: now under the lock, and with what the data decided.
        check_same_training(workdir, changed)
        if "data.dir" in changed:
            check_moved(workdir, *map(Path, changed["data.dir"]))
    except DamagedRecordError as error:
        notes.append(f"note: {error}. Going on with the settings of this command")
    notes += class_notes(workdir, experiment.dataset)
    return notes + list_notes(workdir, experiment.dataset)


def _record(experiment: Experiment, state: TrainState, workdir: Path, is_resumed: bool) -> None:
    """Records the settings, classes and lists that are trained with from here on."""
    write_json(workdir / "config.json", experiment.config.to_dict())
    write_json(workdir / "classes.json", experiment.dataset.class_names)
    # Without values, since a process may hold only shards of them.
    overview = parameter_overview.get_parameter_overview(
        state.merged(state.params), include_stats=False
    )
    write_bytes(workdir / "parameters.txt", f"{overview}\n".encode())
    record_lists(workdir, experiment.dataset, is_resumed=is_resumed)


def _description(
    experiment: Experiment,
    state: TrainState,
    workdir: Path,
    is_resumed: bool,
    notes: Sequence[str],
) -> list[str]:
    """Returns what a user should know before the first step, one line each."""
    dataset = experiment.dataset
    name = experiment.config.model.name
    count = parameter_overview.count_parameters
    total = count(state.merged(state.params))
    trained = count(state.params)
    partly = "" if trained == total else f" ({trained:,} of them train)"
    lines = [
        f"{dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test images, "
        f"{len(dataset.class_names)} classes",
        f"{name}: {total:,} parameters{partly}, {experiment.dtype}, on {devices()}",
        *experiment.notes,
    ]
    if is_resumed:
        number = int(state.batch_number)
        lines += [f"resuming {workdir} after batch {number}, step {int(state.step)}", *notes]
    return lines
