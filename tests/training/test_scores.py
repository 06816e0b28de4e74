"""How many evaluations were no better than before, whatever became of the checkpoints."""

import math

import pytest

from aftrans_jax.training.scores import Scores


def scores(path, best_by="local", protocol=""):
    return Scores(path / "scores.json", best_by=best_by, protocol=protocol, say=pytest.fail)


def evaluated(known, values):
    for number, (local, summed) in values.items():
        known.begin(number, sound=True)
        known.note(number, {"local": local, "sum": summed})


def test_evaluations_since_the_best_one_are_counted(tmp_path):
    known = scores(tmp_path)
    for number, local, waited in [(1, 0.5, 0), (2, 0.7, 0), (3, 0.6, 1), (4, 0.7, 2), (5, 0.8, 0)]:
        evaluated(known, {number: (local, 0.0)})
        assert known.waited(number) == waited
    known.forget_after(4)  # as a run does that goes on from there
    known.begin(6, sound=True)
    known.note(6, {"local": 0.65})
    assert scores(tmp_path).waited(6) == 3


def test_the_evaluation_at_the_end_of_a_shorter_run_is_not_counted(tmp_path):
    known = scores(tmp_path)
    evaluated(known, {30: (0.6, 0), 60: (0.5, 0), 90: (0.5, 0)})
    for local in (0.5, 0.9):  # neither as no better nor as the best so far
        known.begin(100, sound=True)
        known.note(100, {"local": local}, is_due=False)
        assert known.waited(100) == scores(tmp_path).waited(100) == 2
    evaluated(known, {120: (0.7, 0)})
    assert known.waited(120) == 0


@pytest.mark.parametrize(("best_by", "found"), [("local", 1), ("sum", 2), (None, None)])
def test_who_reads_takes_the_best_by_what_the_training_recorded(tmp_path, best_by, found):
    evaluated(scores(tmp_path, best_by), {1: (0.8, 0.6), 2: (0.7, 0.65), 3: (0.6, 0.5)})
    assert scores(tmp_path, None).best({1, 2, 3}) == found
    assert scores(tmp_path, "local").best({1, 2, 3}) == 1  # who trains on goes by its own


def test_another_score_is_counted_anew(tmp_path):
    evaluated(scores(tmp_path), {1: (0.8, 0.6), 2: (0.7, 0.65), 3: (0.6, 0.7)})
    assert scores(tmp_path).waited(3) == 2
    known = scores(tmp_path, "sum")
    assert known.waited(3) == 0
    evaluated(known, {4: (0.5, 0.75), 5: (0.4, 0.7)})
    assert known.waited(5) == 1


def test_scores_that_were_made_in_another_way_do_not_count(tmp_path):
    evaluated(scores(tmp_path), {1: (0.8, 0), 2: (0.7, 0), 3: (0.6, 0)})
    known = scores(tmp_path, protocol="mirror")
    assert known.best({1, 2, 3}) is None
    assert known.of(3) is None  # so it is evaluated again
    assert known.waited(3) == 0
    known.note(3, {"local": 0.65})
    evaluated(known, {4: (0.64, 0)})
    for reader in (known, scores(tmp_path, None)):
        assert reader.best({1, 2, 3, 4}) == 3
    assert scores(tmp_path, protocol="mirror").waited(4) == 1
    assert scores(tmp_path).best({1, 2, 3, 4}) == 1
    assert scores(tmp_path).waited(4) == 0


def test_of_equal_scores_the_newest_is_best_and_nan_never(tmp_path):
    known = scores(tmp_path)
    evaluated(known, {1: (0.8, 0), 2: (0.8, 0), 3: (0.7, 0), 4: (math.nan, 0)})
    for reader in (known, scores(tmp_path)):  # in the file it is null
        assert reader.best({1, 2, 3, 4}) == 2
        assert reader.best({4}) is None


def test_a_checkpoint_that_is_not_evaluated_changes_nothing(tmp_path):
    known = scores(tmp_path, protocol="mirror")
    evaluated(known, {1: (0.8, 0), 2: (0.7, 0)})
    known.begin(3, sound=True)
    assert known.waited(3) == 1
    for reader in (known, scores(tmp_path, None)):
        assert reader.best({1, 2, 3}) == 1


def test_checkpoints_that_are_gone_say_nothing(tmp_path):
    known = scores(tmp_path)
    evaluated(known, {1: (0.8, 0), 2: (0.9, 0), 3: (0.7, 0), 4: (0.7, 0)})
    known.forget_after(2)
    assert known.waited(5) == 0
