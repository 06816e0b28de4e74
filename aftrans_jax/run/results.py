"""What a finished run leaves behind: result.json, predictions.csv and the report."""

import importlib.metadata
import platform
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from aftrans_jax import __version__
from aftrans_jax.config import base_config
from aftrans_jax.data.examples import Dataset
from aftrans_jax.experiment.build import Experiment
from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.json_files import write_json
from aftrans_jax.model.heads import BRANCHES, HEADS
from aftrans_jax.report.page import PageContents, write_report
from aftrans_jax.report.pictures import strip
from aftrans_jax.report.statistics import mean_per_class
from aftrans_jax.run.baseline import find_baseline
from aftrans_jax.run.report_images import ShownImages, pictures
from aftrans_jax.settings import configured, flat
from aftrans_jax.training.actions import accuracy_line
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.precision import device_name
from aftrans_jax.training.reporting import MetricsLog
from aftrans_jax.training.state import TrainState
from aftrans_jax.workdir.predictions_csv import write_predictions
from aftrans_jax.workdir.record import read_commands
from aftrans_jax.workdir.setting_changes import changes

_FACTS = {  # of result.json, as the report names them
    "num_train": "training images",
    "num_test": "test images",
    "num_classes": "classes",
    "step": "steps",
    "stopped_at_step": "stopped early at step",
    "seconds": "time since the last start",
    "images_per_second": "training images per second",
    "mfu": "share of the device's peak (MFU)",
    "device": "device",
    "test_loss": "test loss",
    "box_area_mean": "mean area of the box",
    "box_iou_mean": "IoU with the annotated boxes",
    "centred_box_iou_mean": "IoU of centred boxes as large",
    "box_contains_mean": "share of annotated boxes inside",
}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy", "clu")


def devices() -> str:
    """Returns the number and kind of all processes' devices, such as "4 x NVIDIA H100"."""
    return f"{jax.device_count()} x {device_name()}"


def summary(experiment: Experiment, state: TrainState, evaluation: Evaluation) -> dict[str, Any]:
    """Returns what result.json says of a state: its test scores, the data, device and versions.

    A score is None where the model has no such branch or region, and a top-5 accuracy where it has
    no more than 5 classes; means per class are over the classes that have test images. The losses
    are cross-entropies: `test_loss` is their sum weighted as in training. `gate_mean` is a list by
    layer, over the test images; 0 is the gate of a layer that is not fused.
    """
    scores = dict(evaluation.scores)
    outcomes = evaluation.outcomes
    dataset = experiment.dataset
    means = mean_per_class(outcomes["label"], outcomes["predicted"])
    gates = outcomes.get("gate")
    return {
        "step": int(state.step),
        "num_test": evaluation.num_examples,
        **{f"{head}_accuracy": None for head in HEADS},
        "box_area_mean": None,
        **{f"{head}_top5_accuracy": None for head in HEADS},
        "test_loss": scores.pop("loss"),
        **{f"{branch}_loss": None for branch in BRANCHES},
        **scores,
        **{f"{head}_mean_per_class_accuracy": means.get(head) for head in HEADS},
        "gate_mean": None if gates is None else gates.mean(axis=0, dtype=np.float64).tolist(),
        "skipped_steps": int(state.skipped),
        "num_train": len(dataset.train),
        "num_classes": len(dataset.class_names),
        "device": devices(),
        "config": experiment.config.to_dict(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }


def skipped_images(experiment: Experiment) -> dict[str, list[str]]:
    """Returns the names of the images that some process could not read, by split."""
    names = {}
    for split, skipped in experiment.skipped.items():
        flags = multihost_utils.process_allgather(skipped.flags).reshape(jax.process_count(), -1)
        names[split] = skipped.names(flags.any(axis=0))
    return names


def recorded_line(result: Mapping[str, Any]) -> str:
    """Returns the accuracies of a recorded result in a line."""
    return f"its result: {accuracy_line(result, result['num_test'], 'test')}"


def write_results(
    workdir: Path,
    dataset: Dataset,
    result: Mapping[str, Any],
    evaluation: Evaluation,
    shown: ShownImages,
    log: MetricsLog,
) -> None:
    """Writes the report and the predictions, then result.json: it is there only if they are.

    TensorBoard gets the report's pictures.
    """
    settings = flat(result["config"])
    photos = pictures(shown, dataset, evaluation, image_sizes(configured(settings)))
    names = [dataset.test.names[int(index)] for index in evaluation.outcomes["index"]]
    baseline, no_baseline = find_baseline(workdir, settings, shown.predictions, names)
    report = PageContents(
        title=f"{settings['model.name']} on {dataset.name}",
        predictions=shown.predictions,
        baseline=baseline,
        no_baseline=no_baseline,
        top5={
            head: found
            for head in shown.predictions.heads()
            if (found := result[f"{head}_top5_accuracy"]) is not None
        },
        facts=_facts(result),
        history={split: log.history(split) for split in ("train", "validation", "test")},
        gates=evaluation.outcomes.get("gate"),
        chosen=shown.chosen,
        pictures=photos,
        changed=_changed(settings),
        versions={"aftrans_jax": __version__, **result["versions"]},
        commands=read_commands(workdir),
    )
    write_report(workdir / "report" / "index.html", report)
    drawn = {f"test/{picture.name}": partial(strip, picture) for picture in photos.values()}
    log.write_images(result["step"], drawn)
    write_predictions(workdir / "predictions.csv", dataset, evaluation.outcomes)
    write_json(workdir / "result.json", result)


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: result.get(key) for key, name in _FACTS.items()}
    if result["skipped_steps"]:
        facts["steps skipped by float16"] = result["skipped_steps"]
    unread = sum(map(len, result["skipped_images"].values()))
    return facts | ({"images that could not be read": unread} if unread else {})


def _changed(settings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns key, default and value of the settings that are not the default."""
    found = changes(flat(base_config().to_dict()), settings)
    return [(key, _text(old), _text(new)) for key, (old, new) in found.items()]


def _text(value: Any) -> str:
    """Returns a recorded value as --help has it."""
    return '""' if value == "" else str(tuple(value) if isinstance(value, list) else value)
