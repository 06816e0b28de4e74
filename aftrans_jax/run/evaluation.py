"""`--mode=eval`: a trained model scored on its test split, or on another labelled set."""

import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax

from aftrans_jax.experiment.build import Experiment
from aftrans_jax.experiment.data import check_boxes
from aftrans_jax.experiment.model import ANNOTATED
from aftrans_jax.json_files import write_json
from aftrans_jax.key_groups import EVALUATED, OTHER_SET, RESUMABLE, is_listed
from aftrans_jax.run.results import skipped_images, summary
from aftrans_jax.settings import flat
from aftrans_jax.training.actions import show_scores
from aftrans_jax.training.reporting import Progress
from aftrans_jax.training.sharding import placed
from aftrans_jax.workdir.predictions_csv import write_predictions
from aftrans_jax.workdir.record import read_result
from aftrans_jax.workdir.reported_checkpoint import restore_reported
from aftrans_jax.workdir.setting_changes import changes


def evaluation_settings(
    recorded: Mapping[str, Any], settings: Mapping[str, Any], given: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the settings to evaluate a run with, by key, and notes for the user.

    They are those of the record, except where the command line changes what an evaluation may.

    Args:
      recorded: settings that the run was trained with, by key.
      settings: settings of this command, by key.
      given: keys that were set on the command line.

    Raises:
      ValueError: a given key would change what is evaluated.
    """
    found = changes(recorded, settings)
    chosen = dict(recorded)
    notes = []
    for key in [key for key in found if key in given]:
        old, new = found[key]
        crops_annotated = key == "region.method" and new == ANNOTATED
        if crops_annotated or is_listed(key, (*RESUMABLE, *OTHER_SET)):
            chosen[key] = new
            notes.append(f"note: {key} was {old!r}, is {new!r} in this evaluation")
        elif is_listed(key, EVALUATED):
            raise ValueError(
                f"{key} was {old!r} when the run was trained and is given as {new!r}: it would "
                "change what is evaluated. Leave it out, or train with it in another directory"
            )
        else:
            notes.append(f"note: {key}={new!r} is ignored: the run was trained with {old!r}")
    forgotten = [key for key in found if key not in given and not is_listed(key, RESUMABLE)]
    if forgotten:
        notes.append(f"note: taken from the record of the run: {', '.join(forgotten)}")
    return chosen, notes


def set_name(recorded: Mapping[str, Any], chosen: Mapping[str, Any], depth: int = 1) -> str:
    """Returns the name of the set that an evaluation scores: "test" is the run's own.

    Args:
      recorded: settings that the run was trained with, by key.
      chosen: settings of the evaluation, by key.
      depth: how many folders of the set's path go into the name.
    """
    changed = [key for key in OTHER_SET if recorded[key] != chosen[key]]
    if os.path.realpath(recorded["data.dir"]) == os.path.realpath(chosen["data.dir"]):
        changed = [key for key in changed if key != "data.dir"]  # only spelt differently
    if not changed:
        return "test"
    place = Path(os.path.abspath(chosen["data.dir"]))
    folders = [*place.parts[:-1], place.stem if chosen["data.name"] == "csv" else place.name]
    parts = folders[-depth:] if "data.dir" in changed else []
    parts += [str(chosen[key]) for key in changed if key != "data.dir"]
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", "-".join(part for part in parts if part))
    reserved = name in ("", "test", "test-annotated")
    return f"{chosen['data.name']}-{name}".rstrip("-") if reserved else name


def free_name(workdir: Path, recorded: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    """Returns a set's name, with enough folders in it not to replace the scores of another set.

    Args:
      workdir: directory of the run.
      recorded: settings that the run was trained with, by key.
      chosen: settings of the evaluation, by key.

    Raises:
      ValueError: each such name has scores of another set.
    """
    longest = len(Path(os.path.abspath(chosen["data.dir"])).parts)
    names = [set_name(recorded, chosen, depth) for depth in range(1, longest + 1)]
    for name in names:
        paths = (f"eval-{name}.json", f"eval-{name}-annotated.json")
        found = [
            dict(chosen) | flat(scores["config"])
            for path in paths
            if (scores := read_result(workdir, path))
        ]
        if name == "test" or all(_scored(x) == _scored(chosen) for x in found):
            return name
    raise ValueError(
        f"{workdir / f'eval-{names[0]}.json'} has the scores of another set: expected a name that "
        "is free. Move that file elsewhere"
    )


def _scored(settings: Mapping[str, Any]) -> list[Any]:
    """Returns the settings that distinguish one scored set from others."""
    return [os.path.abspath(settings["data.dir"]), *(settings[key] for key in OTHER_SET[1:])]


def evaluate_run(experiment: Experiment, workdir: Path, *, name: str) -> dict[str, Any]:
    """Returns the scores of the checkpoint that a run reports, written to `eval-<name>.json`.

    The predictions for each image go to `eval-<name>.predictions.csv`; nothing else is written. The
    run may still be training.

    Args:
      experiment: parts of the run, built with `restores`.
      workdir: directory of the run.
      name: name of the scored set.

    Raises:
      FileNotFoundError: there is no checkpoint.
      ValueError, OSError: from reading the checkpoint or the images; or the crops are to be
        annotated boxes, and the set has none.
    """
    began = time.monotonic()
    dataset = experiment.dataset
    config = experiment.config
    crops_annotated = config.region.method == ANNOTATED
    if crops_annotated:
        check_boxes(dataset)
    progress = Progress(config.train.steps)
    restored = restore_reported(workdir, experiment.state, say=progress.say)
    state = placed(restored.state, experiment.mesh, experiment.specs)
    progress.say(f"evaluating the {name} images")
    evaluation = experiment.evaluator.evaluate(state, "test")
    show_scores(evaluation, int(state.step), name, progress)
    result = summary(experiment, state, evaluation) | {
        "seconds": time.monotonic() - began,
        "skipped_images": skipped_images(experiment),
    }
    path = workdir / f"eval-{name}{'-annotated' if crops_annotated else ''}.json"
    if jax.process_index() == 0:  # scores last, so that where they exist predictions do too
        write_predictions(_predictions(path), dataset, evaluation.outcomes)
        write_json(path, result)
    progress.say(f"scores: {path.resolve()}")
    return result


def annotated_scores(workdir: Path) -> tuple[dict[str, Any], Path] | None:
    """Returns a finished run's scores on its own test split, with annotated boxes as crops.

    Also returns the path of the predictions. None where there was no such evaluation, or only of
    another state than the one that the run reports.
    """
    trained = read_result(workdir)
    path = workdir / "eval-test-annotated.json"
    scores = read_result(workdir, path.name)
    predictions = _predictions(path)
    if trained is None or scores is None or scores["step"] != trained["step"]:
        return None
    return (scores, predictions) if predictions.exists() else None


def _predictions(scores: Path) -> Path:
    return scores.with_suffix(".predictions.csv")
