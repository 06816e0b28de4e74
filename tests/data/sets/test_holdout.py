"""The stratified hold-out: how many, which, and of what they depend."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.data.sets.holdout import stratified_split

FEW = settings(deadline=None, max_examples=25)
LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).filter(
    lambda labels: max(Counter(labels).values()) > 1
)
SIXTEENTHS = st.integers(1, 15)  # shares that floating point holds exactly
SEEDS = st.integers(0, 2**32)


def ranks(labels, positions, label):
    """Which of the examples of a class are meant, counted among themselves."""
    members = [index for index, of in enumerate(labels) if of == label]
    return [members.index(index) for index in positions if labels[index] == label]


@FEW
@given(labels=LABELS, share=SIXTEENTHS, seed=SEEDS)
def test_every_class_gives_its_rounded_share_and_keeps_one(labels, share, seed):
    stay, out = stratified_split(labels, share / 16, seed)
    assert sorted(stay + out) == list(range(len(labels)))  # disjoint and covering
    assert (sorted(stay), sorted(out)) == (list(stay), list(out))
    held_out = Counter(labels[index] for index in out)
    for label, number in Counter(labels).items():
        whole, rest = divmod(share * number, 16)
        rounded = whole + (rest > 8 or (rest == 8 and whole % 2 == 1))  # halves to even
        assert held_out[label] == (0 if number == 1 else min(max(rounded, 1), number - 1))
    assert stratified_split(tuple(labels), share / 16, seed) == (stay, out)


@FEW
@given(labels=LABELS, others=st.lists(st.integers(6, 9)), share=SIXTEENTHS, data=st.data())
def test_other_classes_do_not_matter(labels, others, share, data):
    mixed = data.draw(st.permutations([0] * len(labels) + [1] * len(others)))
    own, foreign = iter(labels), iter(others)
    more = [next(foreign) if is_foreign else next(own) for is_foreign in mixed]
    (_, alone), (_, among) = (stratified_split(of, share / 16, seed=3) for of in (labels, more))
    for label in set(labels):
        assert ranks(labels, alone, label) == ranks(more, among, label)


def test_the_seed_decides_and_classes_differ():
    labels = [0] * 40 + [1] * 40
    chosen = [
        ranks(labels, stratified_split(labels, 0.5, seed)[1], label)
        for seed in (0, 1)
        for label in (0, 1)
    ]
    assert len({tuple(ranks) for ranks in chosen}) == 4


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([0, 0], 0.0, r"fraction 0\.0: expected one between 0 and 1"),
        ([0, 0], 1.0, r"fraction 1\.0: expected"),
        ([0, 0], float("nan"), "fraction nan: expected"),
        ([0, 1, 2], 0.5, "no class has two examples.*at least two images"),
    ],
)
def test_what_cannot_be_held_out_is_refused(labels, fraction, message):
    with pytest.raises(ValueError, match=message):
        stratified_split(labels, fraction, 0)
