"""Batches: a function of (seed, step), each example once an epoch, shared by processes."""

from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.loading.transforms import CROPS
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable

FEW = settings(deadline=None, max_examples=10)
LENGTHS = st.integers(8, 40)  # grain takes 6 ms to shuffle an index of 8, 0.1 ms at 300
DEFAULTS = {
    "batch_size": 4,
    "image_size": 4,
    "resize_size": 6,
    "process_index": 0,
    "process_count": 1,
    "num_threads": 0,
}
train = partial(train_batches, **DEFAULTS, seed=0, start_step=0)
evaluate = partial(eval_batches, **DEFAULTS)


class Noise:
    """Images in memory, every one of its own; notes which are asked for."""

    def __init__(self, length):
        self.names = [f"drawn/{index}" for index in range(length)]
        self.labels = [index % 5 for index in range(length)]
        self.asked = []

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        self.asked.append(index)
        image = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Example(image, self.labels[index], np.array([0, 0, 6, 6], np.float32))


def assert_same(stream, other):
    for one, two in zip(stream, other, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])


def rows(batches):
    """The contents of the batches, without their order."""
    keys = ("index", "label", "image", "box")
    return sorted(
        tuple(batch[key][row].tobytes() for key in keys)
        for batch in batches
        for row in range(len(batch["label"]))
    )


def indices(batches):
    return np.concatenate([batch["index"] for batch in batches]).tolist()


def test_shapes_and_types():
    shapes = {"image": (4, 4, 4, 3), "label": (4,), "box": (4, 4), "mask": (4,), "index": (4,)}
    dtypes = {
        "image": "uint8",
        "label": "int32",
        "box": "float32",
        "mask": "bool",
        "index": "int32",
    }
    for batch in (next(train(Noise(9))), next(evaluate(Noise(9)))):
        assert {key: value.shape for key, value in batch.items()} == shapes
        assert {key: value.dtype.name for key, value in batch.items()} == dtypes
        assert batch["mask"].all()
        np.testing.assert_array_equal(batch["label"], batch["index"] % 5)


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_the_seed_decides_whatever_the_threads(num_threads, crop):
    again = train(Noise(17), seed=3, crop=crop, num_threads=num_threads)
    first = list(islice(train(Noise(17), seed=3, crop=crop), 6))
    assert_same(first, islice(again, 6))
    late = train(Noise(17), seed=3, crop=crop, start_step=4, num_threads=num_threads)
    assert_same(first[4:], islice(late, 2))


def test_another_seed_is_another_order_and_augmentation():
    one, other = (list(islice(train(Noise(40), seed=seed), 10)) for seed in (0, 1))
    assert indices(one) != indices(other)
    assert sorted(indices(one)) == sorted(indices(other))
    assert len({*rows(one)} & {*rows(other)}) < 20  # of 40; 18 crops and flips of each


@FEW
@given(length=LENGTHS, batch_size=st.integers(1, 9), start=st.integers(0, 12))
def test_starting_late_is_skipping(length, batch_size, start):
    skipped = islice(train(Noise(length), batch_size=batch_size), start, start + 2)
    started = train(Noise(length), batch_size=batch_size, start_step=start)
    assert_same(skipped, islice(started, 2))


def test_what_is_skipped_is_not_read():
    source = Noise(10)
    batch = next(train(source, start_step=10**6))
    assert source.asked == batch["index"].tolist()


@FEW
@given(LENGTHS, st.integers(1, 4), st.integers(2, 4), st.integers(0, 5))
def test_processes_share_what_one_would_read(length, per_process, process_count, start):
    stream = partial(train, Noise(length), batch_size=per_process * process_count, start_step=start)
    shares = [
        stream(process_index=index, process_count=process_count) for index in range(process_count)
    ]
    for whole in islice(stream(), 3):
        parts = [next(share) for share in shares]
        assert {len(part["label"]) for part in parts} == {per_process}
        assert rows(parts) == rows([whole])


@FEW
@given(length=LENGTHS, batch_size=st.integers(1, 8), seed=st.integers(0, 2**40))
def test_every_epoch_shows_every_example_once(length, batch_size, seed):
    num_batches = -(-3 * length // batch_size)
    seen = indices(islice(train(Noise(length), batch_size=batch_size, seed=seed), num_batches))
    for epoch in range(3):  # batches run across the ends of epochs
        assert sorted(seen[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_epochs_differ_in_order_and_augmentation():
    epochs = list(islice(train(Noise(20), batch_size=20), 3))
    assert len({tuple(range(20)), *(tuple(epoch["index"]) for epoch in epochs)}) == 4
    assert len({str(rows([epoch])) for epoch in epochs}) == 3


def test_a_batch_may_be_larger_than_the_set():
    assert indices([next(train(Noise(1), batch_size=2))]) == [0, 0]
    assert set(indices([next(train(Noise(3), batch_size=8))])) == {0, 1, 2}


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 4), st.sampled_from([0, 2]))
def test_evaluation_sees_each_example_once(length, per_process, process_count, num_threads):
    batch_size = per_process * process_count
    stream = partial(evaluate, Noise(length), batch_size=batch_size, num_threads=num_threads)
    shares = [
        list(stream(process_index=index, process_count=process_count))
        for index in range(process_count)
    ]
    assert {len(share) for share in shares} == {-(-length // batch_size)}
    batches = [batch for share in shares for batch in share]
    assert {batch["image"].shape for batch in batches} == {(per_process, 4, 4, 3)}
    masks, seen = np.concatenate([batch["mask"] for batch in batches]), np.array(indices(batches))
    assert sorted(seen[masks].tolist()) == list(range(length))
    assert (seen[~masks] == -1).all()


def test_evaluation_repeats_itself_in_order_and_crops_the_centre():
    batches = list(evaluate(Noise(5), batch_size=2))
    assert_same(batches, evaluate(Noise(5), batch_size=2))
    assert indices(batches) == [0, 1, 2, 3, 4, -1]
    np.testing.assert_array_equal(batches[1]["image"][0], Noise(5)[2].image[1:5, 1:5])
    np.testing.assert_array_equal(batches[1]["box"][0], [0, 0, 4, 4])


@pytest.mark.parametrize("num_threads", [0, 2])
def test_an_unreadable_file_is_named_by_both_loaders(tmp_path, num_threads):
    (tmp_path / "bird 7.jpg").write_bytes(b"404: Not Found")
    for root, error in ((tmp_path, ValueError), (Path("nowhere"), FileNotFoundError)):
        source = PhotoSource(PhotoTable(root, ("bird 7.jpg",), (0,)))
        for stream in (train, evaluate):
            with pytest.raises(error, match=r"bird 7\.jpg"):
                next(stream(source, num_threads=num_threads))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, r"batch size 5 on 2 processes.*train\.batch_size"),
        ({"batch_size": 0}, "batch size 0"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused_at_once(options, message):
    for stream in (train, evaluate):
        with pytest.raises(ValueError, match=message):
            stream(Noise(9), **options)
