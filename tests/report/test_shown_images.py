"""The images that a page shows: the worst first, every class, few, and always the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import predictions

from aftrans_jax.report.shown_images import MAX_EACH, choose


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(1, 12), st.integers(0, 40))
def test_what_is_shown_is_what_it_says(seed, count, classes, room):
    rng = np.random.default_rng(seed)
    labels, first, second = rng.integers(0, classes, (3, count))
    sure = rng.random(count).astype(np.float32)
    said = predictions(labels, first, [str(label) for label in range(classes)], sure, local=second)
    found = choose(said, room)
    correct = said.correct()
    wrong = np.flatnonzero(~correct)
    worst = sorted(wrong, key=lambda row: -sure[row])[: room // 3]
    assert list(found.mistakes) == worst
    assert len(found.classes) == len(set(found.classes))
    present = len(np.unique(labels))
    if room - len(worst) >= present:
        assert set(labels[found.classes]) == set(labels)
        assert len(found.classes) <= room - len(worst)
    if room:
        assert set(labels[found.rows()]) == set(labels)
    for (true, predicted, times, _), mistake, *typical in found.pairs:
        assert (labels[mistake], first[mistake]) == (true, predicted)
        assert times == ((labels == true) & (first == predicted)).sum()
        for row, label in zip(typical, (true, predicted), strict=True):
            assert row is None or (correct[row] and labels[row] == label)
    for head, other in (("global", second), ("local", first)):
        rows = np.array(found.only.get(head, ()), int)
        assert (said.predicted[head][rows] == labels[rows]).all()
        assert (other[rows] != labels[rows]).all()
    # Where classes are added, a pair's mistake may show a class that a worse one shows already.
    assert len(found.rows()) <= max(room, present + room // 9) + room // 3 + room // 6
    assert found == choose(said, room)


def test_images_of_a_class_are_the_middles_of_equal_slices():
    sure = np.linspace(0, 1, 9)
    said = predictions([0] * 9, [0] * 9, ("a",), sure)
    assert choose(said, 1).classes == [4]
    assert choose(said, 3).classes == [1, 4, 7]
    assert choose(said, 50).classes == list(range(9))


@pytest.mark.parametrize("count", range(1, 14))
def test_there_are_as_many_images_of_a_class_as_there_is_room_for(count):
    said = predictions([0] * count, [0] * count, ("a",), np.linspace(0, 1, count))
    for room in range(1, count + 1):
        assert len(set(choose(said, room).classes)) == room


def test_classes_that_nothing_else_shows_come_first_and_all_are_there():
    """Of 37 classes with five images, the first 30 are wrong."""
    labels = np.repeat(np.arange(37), 5)
    predicted = np.where(labels < 30, (labels + 1) % 30, labels)
    sure = np.random.default_rng(0).random(len(labels))
    said = predictions(labels, predicted, [str(label) for label in range(37)], sure)
    found = choose(said, 36)
    others = {*labels[found._replace(classes=[]).rows()]}
    assert set(labels[found.rows()]) == set(labels)
    assert len(found.classes) == max(36 - 12, 37 - len(others))
    assert {*labels} - others <= {*labels[found.classes]}
    assert set(labels[choose(said, 3).rows()]) == set(labels)


@pytest.mark.parametrize(
    ("count", "expected"), [(MAX_EACH, [*range(MAX_EACH)]), (MAX_EACH + 1, [0, 50, 100])]
)
def test_of_many_classes_evenly_spaced_ones_are_shown(count, expected):
    said = predictions(range(count), range(count), [str(label) for label in range(count)])
    assert choose(said, 3).classes == expected


def test_a_twelfth_are_the_surest_that_one_head_alone_has_right():
    sure = [0.1, 0.9, 0.5, 0.7, 0.8]
    said = predictions([0] * 5, [1, 1, 1, 1, 0], confidence=sure, local=[0] * 5)
    assert choose(said, 24).only == {"local": [1, 3], "global": []}
    said = predictions([0] * 5, [0] * 5, confidence=sure, local=[1, 1, 1, 1, 0])
    assert choose(said, 36).only == {"local": [], "global": [1, 3, 2]}


def test_a_ninth_are_pairs_each_with_its_surest_mistake_and_its_surest_right_answers():
    labels, predicted = [0, 0, 1, 1, 1, 2, 2, 3], [1, 1, 1, 1, 0, 0, 3, 2]
    said = predictions(labels, predicted, "abcd", [0.3, 0.6, 0.2, 0.8, 0.5, 0.4, 0.1, 0.7])
    found = choose(said, 18).pairs
    assert [(pair[:2], *images) for pair, *images in found] == [
        ((0, 1), 1, None, 3),
        ((3, 2), 7, None, None),
    ]
    assert len(choose(said, 27).pairs) == 3


@pytest.mark.parametrize("room", [0, 36])
def test_nan_confidences_come_last(room):
    said = predictions([0, 0, 0], [1, 1, 1], confidence=[np.nan, 0.2, 0.9])
    assert list(choose(said, room).mistakes) == [2, 1, 0][:room]
