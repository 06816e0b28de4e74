"""Items a few ahead: their order, how many are taken, and what is left when someone stops."""

import threading

import pytest

from aftrans_jax.data.loading.threads import in_threads


def test_results_come_in_order_and_items_are_taken_as_needed():
    taken = []
    items = (taken.append(number) or number for number in range(100))
    results = in_threads(lambda number: -number, items, num_threads=3, ahead=8)
    assert taken == []
    assert (next(results), taken) == (0, list(range(9)))
    assert list(results) == [-number for number in range(1, 100)]


def test_what_has_not_begun_is_not_waited_for():
    """This happens when a scan of a large set is interrupted."""
    begun, go_on = [], threading.Event()

    def wait(number):
        begun.append(number)
        assert number == 0 or go_on.wait(30)
        return number

    results = in_threads(wait, range(100), num_threads=1, ahead=50)
    assert next(results) == 0
    threading.Timer(0.2, go_on.set).start()
    results.close()
    assert len(begun) <= 3


def test_an_error_comes_in_the_place_of_its_item():
    results = in_threads(lambda number: 6 // number, (3, 2, 0, 1), num_threads=2, ahead=4)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
