"""Balanced passes: every class as often, every image in its turn, a function of seed and place."""

import tracemalloc
from collections import Counter
from functools import partial
from itertools import islice
from unittest import mock

import grain
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.loader import train_batches
from aftrans_jax.data.loading.sampling import SAMPLINGS

BATCH = 4
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 7)


class Unequal:
    """Black images of classes of given sizes, among one another; class 1 has none."""

    def __init__(self, sizes):
        labels = [label + (label > 0) for label, size in enumerate(sizes) for _ in range(size)]
        self.labels = np.random.default_rng(0).permutation(labels).tolist()
        self.names = [str(index) for index in range(len(labels))]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return Example(np.zeros((4, 4, 3), np.uint8), self.labels[index], np.zeros(4, np.float32))


train = partial(
    train_batches,
    batch_size=BATCH,
    image_size=4,
    resize_size=4,
    process_index=0,
    process_count=1,
    num_threads=0,
    sampling=SAMPLINGS["balanced"],
)


def drawn(source, number, seed=0, start=0, **changes):
    """The indices of the first draws."""
    batches = train(source, seed=seed, start_step=start, **changes)
    size = changes.get("batch_size", BATCH)
    return np.concatenate([b["index"] for b in islice(batches, -(-number // size))]).tolist()


@settings(deadline=None, max_examples=8)
@given(SIZES, st.integers(0, 2**40))
def test_a_pass_draws_every_class_equally_often(sizes, seed):
    source = Unequal(sizes)
    draws = drawn(source, 3 * len(source), seed)
    for number in range(3):
        own = draws[number * len(source) : (number + 1) * len(source)]
        counts = Counter(source.labels[index] for index in own)
        assert set(counts) <= set(source.labels)
        assert max(counts.values()) - min(counts[label] for label in set(source.labels)) <= 1


@settings(deadline=None, max_examples=8)
@given(SIZES, st.integers(0, 2**40))
def test_every_image_comes_in_its_turn(sizes, seed):
    """It comes as often as any other of its class, up to one draw, by the end of every pass."""
    source = Unequal(sizes)
    passes = -(-max(sizes) * len(sizes) // len(source))  # in which each class was gone through
    draws = drawn(source, (passes + 1) * len(source), seed)
    for end in (passes, passes + 1):
        counts = Counter(draws[: end * len(source)])
        assert set(counts) == set(range(len(source)))
        for label in set(source.labels):
            own = [counts[index] for index in range(len(source)) if source.labels[index] == label]
            assert max(own) - min(own) <= 1


def test_order_is_a_function_of_seed_and_place():
    source = Unequal([7, 2, 5])
    draws = drawn(source, 60)
    assert drawn(source, 60) == draws
    assert drawn(source, 20, start=5) == draws[20:40]
    assert drawn(source, 60, seed=1) != draws
    assert draws[:14] != draws[14:28]
    shares = [drawn(source, 60, batch_size=4, process_index=p, process_count=2) for p in (0, 1)]
    assert sorted(shares[0][:20] + shares[1][:20]) == sorted(draws[:40])


def test_what_a_large_class_shows_first_differs_from_lap_to_lap():
    """A pass of 64 shows 32 of its 60 images; in 15 passes each image comes 8 times."""
    source = Unequal([60, 4])
    large = [index for index in drawn(source, 16 * 64, batch_size=64) if source.labels[index] == 0]
    first, ninth = set(large[:32]), set(large[15 * 32 : 16 * 32])
    assert len(first) == len(ninth) == 32
    assert len(first & ninth) < 28  # 17 are expected
    assert set(Counter(large[: 15 * 32]).values()) == {8}


def test_the_order_within_a_class_is_drawn_by_seed_class_and_lap():
    """Compared with the rule written out; orders are cached, so each is drawn only a few times."""
    source, seed = Unequal([900, 30, 70]), 5
    drawn_orders, rng = Counter(), np.random.default_rng

    def counted(entropy):
        drawn_orders[entropy] += 1
        return rng(entropy)

    members = [np.flatnonzero(np.equal(source.labels, label)) for label in (0, 2, 3)]
    order = grain.MapDataset.range(1000).seed(seed).shuffle().repeat()
    with mock.patch("numpy.random.default_rng", counted):
        found = SAMPLINGS["balanced"](order, lambda: source.labels, seed)
        examples = [found[place] for place in range(3000)]
    numbers = np.array([order[place] for place in range(3000)])
    for place, example in enumerate(examples):
        turn, which = divmod(place // 1000 * 1000 + numbers[place], 3)
        lap, position = divmod(turn, len(members[which]))
        assert example == rng((seed, which, lap)).permutation(members[which])[position]
    # 1000 turns of each class: 2, 34 and 15 laps, of which two passes may ask for the same one.
    laps = Counter(which for _, which, _ in drawn_orders)
    assert laps == {0: 2, 1: 34, 2: 15}
    assert sum(drawn_orders.values()) <= 2 * sum(laps.values())


def test_what_is_kept_of_orders_is_a_few_times_the_examples():
    source = Unequal([20_000, 20_000, 500, 3])
    found = SAMPLINGS["balanced"](
        grain.MapDataset.range(len(source)).seed(0).shuffle().repeat(), lambda: source.labels, 0
    )
    tracemalloc.start()
    try:
        for place in range(0, 20 * len(source), 100):  # 20 passes: 10 laps of the largest
            found[place]
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 4 * len(source) * 8
