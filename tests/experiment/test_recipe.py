"""A run with every ingredient beside the default recipe: cut, resumed, loaded."""

import signal

import jax
import numpy as np
import pytest
from experiments import fresh, tiny_config, tiny_variants

from aftrans_jax.experiment.run import run
from aftrans_jax.experiment.signals import Stopped, StopRequest
from aftrans_jax.experiment.trained import load_trained
from aftrans_jax.training.checkpoints import Checkpoints

CHANGES = {
    "model__name": "vit",
    "data__validation_fraction": 0.34,
    "train__optimizer": "adamw",
    "train__learning_rate": 0.005,
    "train__weight_decay": 0.1,
    "train__layer_decay": 0.5,
    "train__trainable": "last:1",
    "train__ema": 0.9,
    "train__steps": 8,
}
SETTINGS = tiny_config(train__precision="float16", **CHANGES).to_dict()


def experiment():
    """On two devices in float16."""
    return fresh(2, "float16", **CHANGES)


def train(workdir, built):
    return run(built, workdir, mode="train", settings=SETTINGS)


def last_state(workdir):
    checkpoints = Checkpoints(workdir / "checkpoints", best_score="global_accuracy")
    return checkpoints.restore_latest(experiment().state)


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def stop_at(number):
    """In the place of a signal."""

    def asked(request, batch):
        if batch == number:
            request._requested = signal.SIGTERM
        return bool(request._requested)

    return asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("recipe") / "whole"
    return workdir, train(workdir, experiment())


def test_it_is_cut_in_two_bit_for_bit_and_the_average_answers(whole, tmp_path, monkeypatch):
    workdir, result = whole
    with monkeypatch.context() as interrupted:
        interrupted.setattr(StopRequest, "__call__", stop_at(5))
        with pytest.raises(Stopped):
            train(tmp_path / "cut", experiment())
    again = train(tmp_path / "cut", experiment())
    state, start = last_state(workdir), experiment().state
    assert int(state.step) == 8
    same(last_state(tmp_path / "cut"), state)
    same(state.frozen, jax.device_get(start.frozen))
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max() > 0, state.params, start.params)
    assert all(jax.tree.leaves(moved))
    assert again["test_loss"] == result["test_loss"]
    with tiny_variants():
        loaded = load_trained(workdir)
    same(loaded.params, state.answering())
    answered, raw = (jax.tree.leaves(x) for x in (loaded.params, state.whole(state.params)))
    assert not all(np.array_equal(x, y) for x, y in zip(answered, raw, strict=True))
    evaluated = run(experiment(), workdir, mode="eval", settings=SETTINGS)
    assert evaluated["test_loss"] == result["test_loss"]
