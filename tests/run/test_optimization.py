"""A run with every ingredient beside the default recipe: cut, resumed, stopped early, loaded."""

import json
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from experiments import fresh, tiny_variants, train, with_settings

from aftrans_jax.inference.trained_model import load_trained
from aftrans_jax.json_files import write_json
from aftrans_jax.run.evaluation import evaluate_run
from aftrans_jax.run.signals import Stopped, StopRequest
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.workdir.record import finished_result, read_result

CHANGES = {
    "model__name": "vit",
    "data__validation_fraction": 0.34,
    "train__optimizer": "adamw",
    "train__learning_rate": 0.005,
    "train__weight_decay": 0.1,
    "train__layer_decay": 0.5,
    "train__trainable": "last:1",
    "train__ema": 0.9,
    "train__sharding": "fsdp",
    "train__steps": 8,
    "eval__every": 1,
}


def experiment(scores=None, patience=0, every=1):
    """An experiment on two devices in float16, with these or its own validation scores by batch."""
    built = fresh(2, "float16", **CHANGES)
    if scores is None:
        return with_settings(built, eval__every=1000)

    def evaluate(state, split):
        if split != "validation":
            return built.evaluator.evaluate(state, split)
        score = scores[int(state.batch_number)]
        if callable(score):
            score()
        return Evaluation({"global_accuracy": score}, 8, {})

    evaluator = SimpleNamespace(evaluate=evaluate, relevance=built.evaluator.relevance)
    return with_settings(
        built._replace(evaluator=evaluator), train__patience=patience, eval__every=every
    )


def last_state(workdir):
    checkpoints = Checkpoints(workdir / "checkpoints", best_by="global_accuracy")
    return checkpoints.restore_latest(experiment().state).state


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def stop_at(number):
    """A stop without a signal."""

    def asked(request, batch):
        if batch == number:
            request._requested = signal.SIGTERM
        return bool(request._requested)

    return asked


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("recipe") / "whole"
    return workdir, train(experiment(), workdir)


def test_it_is_cut_in_two_bit_for_bit_and_the_average_answers(whole, tmp_path, monkeypatch):
    workdir, result = whole
    with monkeypatch.context() as interrupted:
        interrupted.setattr(StopRequest, "__call__", stop_at(5))
        with pytest.raises(Stopped):
            train(experiment(), tmp_path / "cut")
    again = train(experiment(), tmp_path / "cut")
    state, start = last_state(workdir), experiment().state
    assert int(state.step) == 8
    same(last_state(tmp_path / "cut"), state)
    same(state.frozen, jax.device_get(start.frozen))
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max() > 0, state.params, start.params)
    assert all(jax.tree.leaves(moved))
    assert again["test_loss"] == result["test_loss"]
    with tiny_variants():
        loaded = load_trained(workdir)
    same(loaded.params, state.eval_params())
    answered, raw = (jax.tree.leaves(x) for x in (loaded.params, state.merged(state.params)))
    assert not all(np.array_equal(x, y) for x, y in zip(answered, raw, strict=True))
    evaluated = evaluate_run(experiment(), workdir, name="test")
    assert evaluated["test_loss"] == result["test_loss"]


SCORES = {1: 0.2, 2: 0.5, 3: 0.4, 4: 0.6, 5: float("nan"), 6: 0.6, 7: 0.9, 8: 0.9, 9: 0.9}


def test_it_stops_early_at_the_same_step_however_it_is_cut(whole, tmp_path, monkeypatch, capsys):
    """The scores at 5 and 6 are no better than that at 4."""

    def cut_short():
        raise KeyboardInterrupt

    straight, cut = tmp_path / "straight", tmp_path / "cut"
    result = train(experiment(SCORES, 2), straight)
    said = capsys.readouterr().out
    assert "no better global_accuracy in 2 evaluations of the validation images" in said
    state = last_state(straight)
    assert int(state.step + state.skipped) == 6
    assert result["stopped_at_step"] == int(state.step) < 8
    assert result["validation"] == {"global_accuracy": 0.6}
    with monkeypatch.context() as interrupted:
        interrupted.setattr(StopRequest, "__call__", stop_at(2))
        with pytest.raises(Stopped):
            train(experiment(SCORES, 2), cut)
    for number in (5, 6):  # the evaluations are made up for
        with pytest.raises(KeyboardInterrupt):
            train(experiment({**SCORES, number: cut_short}, 2), cut)
    again = train(experiment(SCORES, 2), cut)
    same(last_state(cut), state)
    assert again["stopped_at_step"] == result["stopped_at_step"]
    assert again["test_loss"] == result["test_loss"]
    capsys.readouterr()
    assert train(experiment(SCORES, 2), cut) == read_result(cut)
    step = result["stopped_at_step"]
    assert f"already finished early (train.patience) at step {step}" in capsys.readouterr().out
    assert finished_result(cut, 8) is not None
    scores = json.loads((cut / "checkpoints" / "scores.json").read_text())
    for facts in scores["checkpoints"].values():  # as if another score had been counted by
        facts["best_by"] = "sum_accuracy"
    write_json(cut / "checkpoints" / "scores.json", {"checkpoints": scores["checkpoints"]})
    assert train(experiment(SCORES, 2), cut) == read_result(cut)
    assert "stopped early at step" in (cut / "report" / "index.html").read_text()


def test_evaluations_at_intervals_are_told_from_the_one_at_the_end(tmp_path):
    train(experiment(dict.fromkeys(range(9), 0.5), every=3), tmp_path)
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_by="global_accuracy")
    assert checkpoints.latest == 8
    assert checkpoints.scores.of(8) is not None
    assert checkpoints.scores.waited(8) == 1  # at 6
