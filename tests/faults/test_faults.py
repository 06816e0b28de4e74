"""A few trials of each fault driver; `python tests/faults/NAME.py --count=1000` makes many."""

import damage
import disk
import driver
import kill
import peers
import pytest
import signals

from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers

# Reads of a torn file that are still pending find orbax's event loop closed, and say so at random.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


TRIALS = {
    "kill": (kill, ["save"]),
    "signals": (signals, ["save"]),
    "damage": (damage, ["remove", "replace"]),
    "disk": (disk, ["full", "no folder"]),
}


@pytest.mark.parametrize("name", TRIALS)
def test_no_trial_goes_wrong(name):
    module, kinds = TRIALS[name]
    assert set(kinds) <= set(module.KINDS)
    table = driver.tried(name, kinds, module.run_one, len(kinds))
    assert {kind: row["tried"] for kind, row in table["kinds"].items()} == dict.fromkeys(kinds, 1)
    assert [row["wrong"] for row in table["kinds"].values() if row["wrong"]] == []


def test_a_signal_to_one_of_two_processes_in_an_evaluation_ends_both(tmp_path):
    assert peers.stopped(tmp_path / "run", "second") is None
    assert checkpoint_numbers(tmp_path / "run" / "checkpoints") == [2, 4]


def test_a_wrong_trial_is_counted_with_its_seed():
    def fails(kind, seed):
        if seed == 3:
            raise ValueError("broken")
        return "wrong" if kind == "b" and seed == 1 else None

    rows = driver.tried("none", ("a", "b"), fails, 5)["kinds"]
    assert rows["a"] == {"tried": 3, "right": 3, "wrong": []}
    assert rows["b"]["right"] == 0
    assert [wrong["seed"] for wrong in rows["b"]["wrong"]] == [1, 3]
    assert "ValueError: broken" in rows["b"]["wrong"][1]["problem"]
