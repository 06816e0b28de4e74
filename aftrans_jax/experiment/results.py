"""What a finished run leaves behind: result.json, predictions.csv and the report."""

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from aftrans_jax.data.examples import Dataset
from aftrans_jax.experiment.outcomes import write_predictions
from aftrans_jax.experiment.parts import Experiment
from aftrans_jax.report.page import write_report
from aftrans_jax.report.pictures import Picture, strip
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.records import write_json
from aftrans_jax.training.reporting import MetricsLog
from aftrans_jax.training.state import TrainState

_NESTED = (Mapping, list)  # too much for one figure of the report
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scipy", "clu")


def devices() -> str:
    """Returns the number and kind of all processes' devices, such as "4 x NVIDIA H100"."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def summary(
    experiment: Experiment,
    state: TrainState,
    evaluation: Evaluation,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what result.json says of a state: its test scores, the data, device and versions.

    A score is None where the model has no such branch or region. The losses are cross-entropies:
    `test_loss` is their sum weighted as in training. `gate_mean` is a list by layer, over the test
    images; 0 is the gate of a layer that is not fused.
    """
    scores, gates = dict(evaluation.scores), evaluation.outcomes.get("gate")
    dataset = experiment.dataset
    return {
        "step": int(state.step),
        "num_test": evaluation.num_examples,
        **dict.fromkeys(("global_accuracy", "local_accuracy", "sum_accuracy", "box_area_mean")),
        "test_loss": scores.pop("loss"),
        **dict.fromkeys(("global_loss", "local_loss")),
        **scores,
        "gate_mean": None if gates is None else gates.mean(axis=0, dtype=np.float64).tolist(),
        "skipped_steps": int(state.skipped),
        "num_train": len(dataset.train),
        "num_classes": len(dataset.class_names),
        "device": devices(),
        "config": dict(settings),
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
    """Returns the accuracies of a result in a line."""
    scores = ("global", "local", "sum")
    found = {name: result.get(f"{name}_accuracy") for name in scores}
    shown = [f"{name} {value:.1%}" for name, value in found.items() if isinstance(value, float)]
    return f"its result: accuracy on {result.get('num_test')} test images: {'  '.join(shown)}"


def write_results(
    workdir: Path,
    dataset: Dataset,
    result: Mapping[str, Any],
    evaluation: Evaluation,
    log: MetricsLog,
) -> None:
    """Writes the report and the predictions, then result.json: it is there only if they are.

    TensorBoard gets the report's pictures.
    """
    pictures = [_picture(sample, dataset) for sample in evaluation.samples]
    write_report(
        workdir / "report" / "index.html",
        title=f"{result['config']['model']['name']} on {dataset.name}",
        pictures=pictures,
        gates=evaluation.outcomes.get("gate"),
        summary={k: v for k, v in result.items() if not isinstance(v, _NESTED) and not _is_nan(v)},
        history=log.history(),
    )
    drawn = {f"test/{picture.name}": partial(strip, picture) for picture in pictures}
    log.write_images(result["step"], drawn)
    write_predictions(workdir / "predictions.csv", dataset, evaluation.outcomes)
    write_json(workdir / "result.json", result)


def _is_nan(value: Any) -> bool:
    """Whether it is an average over nothing, such as of overlaps where no box is annotated."""
    return isinstance(value, float) and math.isnan(value)


def _picture(sample: Mapping[str, Any], dataset: Dataset) -> Picture:
    predicted, annotated = int(sample["probabilities"].argmax()), sample["annotated_box"]
    return Picture(
        name=dataset.test.names[int(sample["index"])],
        image=sample["image"],
        true_class=dataset.class_names[int(sample["label"])],
        predicted_class=dataset.class_names[predicted],
        confidence=float(sample["probabilities"][predicted]),
        box=tuple(sample["box"].tolist()) if "box" in sample else None,
        relevance=sample.get("relevance"),
        annotated_box=None if np.isnan(annotated).any() else tuple(annotated.tolist()),
    )
