"""The plain ViT that a run's report compares it with, where one lies beside it."""

import glob
import itertools
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aftrans_jax.key_groups import EVAL_VIEWS, NOT_OF_VIT, RESUMABLE, is_listed
from aftrans_jax.report.statistics import SplitPredictions, share
from aftrans_jax.report.summary import Baseline
from aftrans_jax.settings import flat
from aftrans_jax.workdir.predictions_csv import read_predictions
from aftrans_jax.workdir.record import finished_result, written_settings
from aftrans_jax.workdir.setting_changes import changes

_PLAIN = "vit"


def find_baseline(
    workdir: Path, settings: Mapping[str, Any], predictions: SplitPredictions, names: list[str]
) -> tuple[Baseline | None, str]:
    """Returns a finished plain ViT of the same settings, or None and a note that says so.

    It is searched for beside the directory and, as studies lay runs out, in directories of the same
    name beside its parent. It must have the same seed, steps and test images, of the same classes;
    nothing is trained.

    Args:
      workdir: directory of the run, whose predictions are not needed.
      settings: settings of the run, nested.
      predictions: predictions of the run.
      names: names of the test images, in the order of `predictions`.
    """
    ours = flat(settings)
    if ours["model.name"] == _PLAIN:
        return None, ""
    place = workdir.absolute()
    same_name = place.parent.parent.glob(f"*/{glob.escape(place.name)}")
    for path in sorted(itertools.chain(place.parent.glob("*"), same_name)):
        found = _compared(path, place, ours, predictions, names) if path != place else None
        if found is not None:
            return found, ""
    return None, (
        "No finished plain ViT of the same settings, seed and test images lies beside this run, so "
        "nothing tells here what the model gains over it. The same command with "
        "--config.model.name=vit and another --workdir trains one; python -m aftrans_jax.compare "
        "sets finished runs side by side."
    )


def _compared(
    path: Path,
    workdir: Path,
    ours: Mapping[str, Any],
    predictions: SplitPredictions,
    names: list[str],
) -> Baseline | None:
    """Returns the run in a directory as a baseline, None where it cannot serve as one."""
    try:
        theirs = written_settings(path)
        if theirs.get("model.name") != _PLAIN or not finished_result(path, ours["train.steps"]):
            return None
        differing = changes(ours, theirs).keys() - {"model.name"}
        ignored = (*RESUMABLE, *NOT_OF_VIT)
        if not all(is_listed(key, ignored) and key not in EVAL_VIEWS for key in differing):
            return None
        said = read_predictions(path / "predictions.csv")
    except (OSError, ValueError):  # another version's, damaged, or being written
        return None
    true = [predictions.class_names[label] for label in predictions.labels]
    if list(said.names) != names or list(said.true) != true:
        return None
    there = said.correct("global")
    here = predictions.correct()
    return Baseline(
        name=_from_here(path),
        accuracy=share(int(there.sum()), len(there)),
        only_here=int(np.sum(here & ~there)),
        only_there=int(np.sum(there & ~here)),
        command=shlex.join(
            ["python", "-m", "aftrans_jax.compare", _from_here(path), _from_here(workdir)]
        ),
    )


def _from_here(path: Path) -> str:
    """Returns the shorter of a path's absolute form and its form relative to this folder."""
    return min(os.path.relpath(path), str(path.absolute()), key=len)
