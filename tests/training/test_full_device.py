"""A full device: the error names what the innermost computation needs less of."""

import jax
import pytest
from experiments import fresh, train

from aftrans_jax.training.evaluation import evaluate
from aftrans_jax.training.memory import oom_remedy


def full(*arguments, **options):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")


def test_the_innermost_remedy_is_said_once():
    message = r"^the device's memory is full: lower b \(Out of memory allocating 9 bytes\.\)$"
    with pytest.raises(RuntimeError, match=message), oom_remedy("a"), oom_remedy("lower b"):
        full()


def test_other_errors_are_left_alone():
    with pytest.raises(KeyError, match="step"), oom_remedy("lower a"):
        raise KeyError("step")
    with pytest.raises(OSError, match=r"^disk: RESOURCE_EXHAUSTED"), oom_remedy("lower a"):
        raise OSError("disk: RESOURCE_EXHAUSTED: no space left on device")  # in absl's words


def test_a_training_step_and_an_evaluation_have_remedies_of_their_own(tmp_path):
    with pytest.raises(RuntimeError, match=r"is full: raise train\.accumulation_steps"):
        train(fresh()._replace(train_step=full), tmp_path / "run")
    with pytest.raises(RuntimeError, match=r"is full: lower eval\.batch_size"):
        evaluate(full, [{}])
