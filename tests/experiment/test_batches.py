"""Batches as configured: their order by the seed, their augmentation by its name, their size."""

import jax
import numpy as np
import pytest
from experiments import tiny_config

from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.experiment.batches import AUGMENTS, eval_batch_size, global_train_batches
from aftrans_jax.training.sharding import device_mesh

TRAIN = synthetic_dataset(num_train=24, num_test=1, image_size=32).train


def order(seed):
    """The images of an epoch."""
    batches = global_train_batches(tiny_config(seed=seed), TRAIN, device_mesh(), None, 0)
    return np.concatenate([jax.device_get(next(batches)["index"]) for _ in range(3)]).tolist()


def test_the_order_of_images_is_the_seed_s():
    first, second = order(1), order(2)
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert first == order(1)


def test_an_augmentation_is_the_one_of_its_name():
    assert AUGMENTS["none"] is None
    for name in AUGMENTS.keys() - {"none"}:
        assert AUGMENTS[name].__module__ == f"aftrans_jax.data.loading.{name}"


@pytest.mark.parametrize(
    ("wanted", "sizes", "expected"),
    [
        (8, (20, 5), 8),
        (48, (5, 20), 20),  # no larger than the longest
        (48, (5, 18), 20),  # four devices have equally many rows
        (2, (20,), 4),
    ],
)
def test_a_batch_to_evaluate_is_of_the_longest_split_at_most(wanted, sizes, expected):
    splits = [synthetic_dataset(num_train=1, num_test=n, image_size=32).test for n in sizes]
    config = tiny_config(eval__batch_size=wanted)
    assert eval_batch_size(config, device_mesh(), splits) == expected
