"""Every precision through every command that restores what it trained."""

import json
from unittest import mock

import numpy as np
import pytest
from experiments import fresh, tiny_experiment, tiny_variants, train, with_settings

from aftrans_jax.inference.trained_model import load_trained
from aftrans_jax.run.evaluation import evaluate_run
from aftrans_jax.training import precision as precisions
from aftrans_jax.training.checkpoint_reading import flat_arrays, read_arrays

VIT = {"model__name": "vit"}  # compiles soonest


def lengthened(precision, num_steps):
    """The compiled experiment, its schedule included, of more steps."""
    return with_settings(fresh(1, precision, **VIT), train__steps=num_steps)


# float32 is what all other tests train, lengthen, evaluate and load.
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_what_was_trained_is_lengthened_evaluated_and_loaded(precision, tmp_path):
    workdir = tmp_path / "run"
    first = train(fresh(1, precision, **VIT), workdir)
    evaluated = evaluate_run(fresh(1, precision, **VIT), workdir, name="test")
    assert evaluated["test_loss"] == first["test_loss"]
    with tiny_variants():
        trained = load_trained(workdir)
    stored = read_arrays(workdir / "checkpoints" / str(first["step"] + first["skipped_steps"]))
    for path, array in flat_arrays({"params": trained.params}).items():
        np.testing.assert_array_equal(array, stored[path])
    result = train(lengthened(precision, 8), workdir)
    assert result["step"] == 8
    assert result["skipped_steps"] >= first["skipped_steps"]
    assert json.loads((workdir / "config.json").read_text())["train"]["steps"] == 8
    # And on with another precision: only float16 has a loss scale.
    other = "float32" if precision == "float16" else "float16"
    changed = train(lengthened(other, 9), workdir)
    assert changed["step"] == 9


def test_a_state_has_the_same_types_before_and_after_a_step():
    experiment = fresh(1, "float16", **VIT)
    before = flat_arrays(experiment.state)
    state, _ = experiment.train_step(experiment.state, next(experiment.train_batches(0)))
    after = flat_arrays(state)
    kinds = [{k: (x.dtype, x.shape) for k, x in arrays.items()} for arrays in (before, after)]
    assert kinds[0] == kinds[1]
    assert before["loss_scale/scale"] == 65536


def test_a_card_without_bfloat16_trains_in_float16_and_the_run_says_so():
    card = "Tesla T4 (compute capability 7.5)"
    with mock.patch.object(precisions, "device_name", return_value=card):
        experiment = tiny_experiment(1, **VIT)
        chosen = tiny_experiment(1, train__precision="float32", **VIT)
    assert experiment.dtype == "float16"
    assert flat_arrays(experiment.state)["loss_scale/scale"] == 65536
    line = f"train.precision=auto is float16: {card} has no bfloat16"
    assert [line in one.notes for one in (experiment, chosen)] == [True, False]
