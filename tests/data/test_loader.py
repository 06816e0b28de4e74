"""Batches: a function of (seed, step), each example once an epoch, shared by processes."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.data.examples import Examples, PhotoSource
from aftrans_jax.data.loader import eval_batches, train_batches
from aftrans_jax.data.transforms import Example

FEW = settings(deadline=None, max_examples=25)
FEWER = settings(deadline=None, max_examples=10)
LENGTHS = st.integers(8, 40)  # grain takes 40 ms to shuffle one index of one, 1 ms at 32
SIZES = {"image_size": 4, "resize_size": 6}
ALONE = {"process_index": 0, "process_count": 1}


class Noise:
    """Images in memory, every one of its own; notes which are asked for."""

    def __init__(self, length):
        self.length = length
        self.names = [f"drawn/{index}" for index in range(length)]
        self.asked = []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.asked.append(index)
        image = np.random.default_rng(index).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Example(image, index % 5, np.array([0, 0, 6, 6], np.float32))


def train(source, *, batch_size=4, seed=0, start_step=0, num_threads=0, **processes):
    return train_batches(
        source,
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        num_threads=num_threads,
        **SIZES,
        **(processes or ALONE),
    )


def evaluate(source, batch_size, num_threads=0, **processes):
    return eval_batches(
        source, batch_size=batch_size, num_threads=num_threads, **SIZES, **(processes or ALONE)
    )


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def rows(batches):
    """What the batches hold, without the order: (index, label, pixels, box) of every row."""
    return sorted(
        (int(index), int(label), image.tobytes(), box.tobytes())
        for batch in batches
        for index, label, image, box in zip(
            batch["index"], batch["label"], batch["image"], batch["box"], strict=True
        )
    )


def indices(batches):
    return np.concatenate([batch["index"] for batch in batches]).tolist()


def test_shapes_and_types():
    batch = next(train(Noise(9), batch_size=3))
    assert batch["image"].shape == (3, 4, 4, 3)
    assert batch["box"].shape == (3, 4)
    for key, dtype in {
        "image": np.uint8, "label": np.int32, "box": np.float32, "mask": np.bool_, "index": np.int32
    }.items():  # fmt: skip
        assert batch[key].dtype == dtype
        assert len(batch[key]) == 3
    assert batch["mask"].all()
    assert batch.keys() == next(evaluate(Noise(9), 3)).keys()
    np.testing.assert_array_equal(batch["label"], batch["index"] % 5)


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_the_seed_decides_whatever_the_threads(num_threads):
    reference = list(islice(train(Noise(7), seed=3), 6))
    again = islice(train(Noise(7), seed=3, num_threads=num_threads), 6)
    for one, other in zip(reference, again, strict=True):
        assert_same(one, other)


def test_another_seed_is_another_stream():
    one, other = (list(islice(train(Noise(50), seed=seed), 12)) for seed in (0, 1))
    assert indices(one) != indices(other)
    pixels = [{row[0]: row[2] for row in rows(batches[:12])} for batches in (one, other)]
    both = pixels[0].keys() & pixels[1].keys()
    assert any(pixels[0][index] != pixels[1][index] for index in both)  # augmentation, too


@FEWER
@given(length=LENGTHS, batch_size=st.integers(1, 9), start=st.integers(0, 12))
def test_starting_late_is_skipping(length, batch_size, start):
    skipped = islice(train(Noise(length), batch_size=batch_size), start, start + 2)
    started = islice(train(Noise(length), batch_size=batch_size, start_step=start), 2)
    for one, other in zip(skipped, started, strict=True):
        assert_same(one, other)


def test_what_is_skipped_is_not_read():
    source = Noise(10)
    batch = next(train(source, start_step=10**6))
    assert source.asked == batch["index"].tolist()


@FEWER
@given(
    length=LENGTHS,
    per_process=st.integers(1, 4),
    process_count=st.integers(2, 4),
    start=st.integers(0, 5),
)
def test_processes_share_what_one_would_read(length, per_process, process_count, start):
    options = {"batch_size": per_process * process_count, "start_step": start}
    alone = islice(train(Noise(length), **options), 3)
    shares = [
        train(Noise(length), **options, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    for whole in alone:
        parts = [next(share) for share in shares]
        assert all(len(part["label"]) == per_process for part in parts)
        assert rows(parts) == rows([whole])


@FEWER
@given(length=LENGTHS, batch_size=st.integers(1, 8), seed=st.integers(0, 2**40))
def test_every_epoch_shows_every_example_once(length, batch_size, seed):
    num_batches = -(-3 * length // batch_size)
    seen = indices(islice(train(Noise(length), batch_size=batch_size, seed=seed), num_batches))
    for epoch in range(3):  # batches run across the ends of epochs
        assert sorted(seen[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_epochs_differ_in_order_and_augmentation():
    batches = list(islice(train(Noise(20), batch_size=20), 3))
    orders = {tuple(batch["index"].tolist()) for batch in batches}
    assert len(orders) == 3
    assert tuple(range(20)) not in orders
    assert len({str(rows([batch])) for batch in batches}) == 3


def test_a_set_of_one():
    assert indices(islice(train(Noise(1), batch_size=2), 2)) == [0, 0, 0, 0]


def test_a_batch_may_be_larger_than_the_set():
    batch = next(train(Noise(3), batch_size=8))
    assert sorted(batch["index"].tolist())[:2] == [0, 0]
    assert set(batch["index"].tolist()) == {0, 1, 2}


@FEW
@given(
    length=st.integers(1, 30),
    per_process=st.integers(1, 7),
    process_count=st.integers(1, 4),
    num_threads=st.sampled_from([0, 2]),
)
def test_evaluation_sees_each_example_once(length, per_process, process_count, num_threads):
    batch_size = per_process * process_count
    shares = [
        list(
            evaluate(
                Noise(length),
                batch_size,
                num_threads,
                process_index=index,
                process_count=process_count,
            )
        )
        for index in range(process_count)
    ]
    assert {len(share) for share in shares} == {-(-length // batch_size)}
    batches = [batch for share in shares for batch in share]
    assert {batch["image"].shape for batch in batches} == {(per_process, 4, 4, 3)}
    masks = np.concatenate([batch["mask"] for batch in batches])
    seen = np.array(indices(batches))
    assert sorted(seen[masks].tolist()) == list(range(length))
    assert (seen[~masks] == -1).all()


def test_evaluation_repeats_itself_in_order_and_crops_the_centre():
    batches = list(evaluate(Noise(5), 2))
    for one, other in zip(batches, evaluate(Noise(5), 2), strict=True):
        assert_same(one, other)
    assert indices(batches) == [0, 1, 2, 3, 4, -1]
    np.testing.assert_array_equal(batches[1]["image"][0], Noise(5)[2].image[1:5, 1:5])
    np.testing.assert_array_equal(batches[1]["box"][0], [0, 0, 4, 4])


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_damaged_file_is_named_by_both_loaders(tmp_path, num_threads):
    (tmp_path / "bird 7.jpg").write_bytes(b"\xff\xd8\xff")
    source = PhotoSource(Examples(tmp_path, ("bird 7.jpg",), (0,), 1))
    for batches in (train(source, num_threads=num_threads), evaluate(source, 2, num_threads)):
        with pytest.raises(ValueError, match=r"bird 7\.jpg.*fetch it again"):
            next(batches)


def test_an_absent_file_is_named():
    source = PhotoSource(Examples(Path("nowhere"), ("bird 7.jpg",), (0,), 1))
    with pytest.raises(FileNotFoundError, match=r"nowhere.bird 7\.jpg"):
        next(train(source, num_threads=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch size 5 on 2 processes.*train.batch_size"),
        ({"batch_size": 0}, "batch size 0"),
        ({"process_index": 1}, r"process_index 1: expected one in \[0, 1\)"),
        ({"process_index": -1}, "process_index -1"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused_at_once(options, message):
    options = {"batch_size": 4, **ALONE, **options}
    with pytest.raises(ValueError, match=message):
        train(Noise(9), **options)
    with pytest.raises(ValueError, match=message):
        evaluate(Noise(9), **options)


@pytest.mark.parametrize("options", [{"seed": -1}, {"start_step": -1}])
def test_negative_numbers_are_refused(options):
    with pytest.raises(ValueError, match=r"-1.*expected 0 or more"):
        train(Noise(9), **options)
