"""Statistics of predictions, against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import predictions
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from aftrans_jax.report.statistics import (
    agreement,
    by_class,
    by_head,
    calibration,
    confused,
    confusion,
    mean_per_class,
    share,
)
from aftrans_jax.report.summary import summary


@st.composite
def random_answers(draw):
    """Predictions for 1 to 60 images of 1 to 6 classes, some of which may have no images."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, classes = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    labels, first, second = rng.integers(0, classes, (3, count))
    names = [f"class {label}" for label in range(classes)]
    return predictions(labels, first, names, rng.random(count), local=second)


@pytest.mark.filterwarnings("ignore:A single label")  # of scikit-learn
@settings(deadline=None, max_examples=50)
@given(random_answers())
def test_sums_agree_with_scikit_learn(said):
    labels, predicted = said.labels, said.predicted["global"]
    count = len(said.class_names)
    expected = confusion_matrix(labels, predicted, labels=np.arange(count))
    np.testing.assert_array_equal(confusion(said), expected)
    assert by_head(said)["global"].value == pytest.approx(accuracy_score(labels, predicted))
    present = np.unique(labels)
    recalls = np.diag(expected)[present] / expected.sum(axis=1)[present]
    found = {score.name: score.share.value for score in by_class(said)}
    assert found == pytest.approx({f"class {k}": r for k, r in zip(present, recalls, strict=True)})
    pairs = {(pair.true, pair.predicted): pair.times for pair in confused(said)}
    off = {(i, j): n for (i, j), n in np.ndenumerate(expected) if i != j and n}
    assert pairs == off
    times = [pair.times for pair in confused(said)]
    assert times == sorted(times, reverse=True)


@settings(deadline=None, max_examples=50)
@given(random_answers())
def test_reliability_agrees_with_scikit_learn(said):
    found = calibration(said)
    filled = found.counts > 0
    edges = np.float32(said.confidence["global"])
    accuracy, confidence = calibration_curve(said.correct(), edges, n_bins=10)
    np.testing.assert_allclose(found.accuracy[filled], accuracy)
    np.testing.assert_allclose(found.confidence[filled], confidence)
    weights = found.counts[filled] / found.counts.sum()
    assert found.error == pytest.approx(float(weights @ np.abs(accuracy - confidence)))


@pytest.mark.filterwarnings("ignore:A single label", "ignore:y_pred contains classes")
@settings(deadline=None, max_examples=50)
@given(random_answers())
def test_the_mean_over_classes_agrees_with_scikit_learn(said):
    labels, predicted = said.labels, said.predicted
    expected = {head: balanced_accuracy_score(labels, predicted[head]) for head in said.heads()}
    assert mean_per_class(labels, predicted) == pytest.approx(expected)


def test_the_mean_over_classes_counts_a_rare_class_as_much_as_a_frequent_one():
    labels = np.array([0] * 8 + [2] * 2)  # no image of class 1
    predicted = {"global": np.array([0] * 10), "local": np.array([0] * 8 + [2, 1])}
    assert mean_per_class(labels, predicted) == {"global": 0.5, "local": 0.75}
    assert math.isnan(mean_per_class(labels[:0], {"global": labels[:0]})["global"])


def test_calibration_golden():
    """Two images in 0.9 to 1, one right: off by 0.45; two in 0.6 to 0.7, both right: by 0.35."""
    said = predictions([0] * 4, [0, 1, 0, 0], confidence=[0.95, 0.95, 0.65, 0.65])
    found = calibration(said)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert found.error == pytest.approx((2 * 0.45 + 2 * 0.35) / 4)
    assert found.mean_confidence == pytest.approx(0.8)


def test_a_confidence_of_one_is_in_the_last_bin_and_nan_in_none():
    found = calibration(predictions([0] * 3, [0] * 3, confidence=[1.0, math.nan, 0.0]))
    assert found.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Newcombe 1998, table I, method 3: Wilson's score interval.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_golden(hits, total, low, high):
    found = share(hits, total)
    assert found[:3] == pytest.approx((hits / total, low, high), abs=5e-5)


def test_a_share_of_nothing_is_nan():
    assert all(map(math.isnan, share(0, 0)[:3]))


def test_the_reported_head_is_first_whatever_its_name():
    said = predictions([0], [0], local=[0], sum=[0])
    assert said.heads() == ["global", "local", "sum"]
    assert said._replace(reported="sum").heads() == ["sum", "global", "local"]


def test_the_reported_head_is_first_and_classes_begin_with_the_worst():
    said = predictions([0, 0, 1, 1], [1, 1, 1, 0], local=[0, 0, 1, 1])._replace(reported="local")
    assert list(by_head(said)) == ["local", "global"]
    worst, best = by_class(said._replace(reported="global"))
    assert (worst.name, worst.share.hits, worst.taken_for, worst.times) == ("Tern", 0, "Gull", 2)
    assert (best.name, best.share.hits, best.taken_for, best.times) == ("Gull", 1, "Tern", 1)


def test_of_pairs_as_frequent_the_larger_share_of_its_class_is_first():
    said = predictions([0, 0, 0, 1, 1, 2, 2], [1, 0, 0, 0, 1, 0, 0], ("a", "b", "c"))
    assert confused(said) == [(2, 0, 2, 2), (1, 0, 1, 2), (0, 1, 1, 3)]


def test_cells_are_shares_of_their_row_also_of_one_image_and_of_none():
    found = summary(predictions([0], [1]), None)
    assert found.matrix == [("Tern", [(0, 0), (1, 100)]), ("Gull", [(0, 0), (0, 0)])]


def test_a_cell_of_a_large_matrix_has_a_shade_however_small_its_share():
    """One of 100 images is wrong: it gets an eighth of the full shade; the others all of it."""
    names = [str(label) for label in range(21)]
    found = summary(predictions([0] * 100, [1] + [0] * 99, names), None)
    assert (found.side, found.matrix) == (21, ())
    assert found.shades == [(12, "M1 0h1v1h-1z"), (100, "M0 0h1v1h-1z")]


def test_agreement_golden():
    said = predictions([0] * 5, [0, 0, 1, 1, 0], local=[0, 1, 0, 1, 1])
    found = {key: rows.tolist() for key, rows in agreement(said, "global", "local").items()}
    assert found == {
        (True, True): [0],
        (True, False): [1, 4],
        (False, True): [2],
        (False, False): [3],
    }
