"""When a study writes its table."""

from pathlib import Path

import pytest

from aftrans_jax.studies import study
from aftrans_jax.studies.plan import Run
from aftrans_jax.studies.study import TableWriter

RUN = Run("row", 0, Path("run"), None, ("global",))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(study.time, "monotonic", lambda: now[0])
    return now


def test_a_table_that_takes_long_is_written_seldom_and_at_the_end(clock):
    written = []

    def write(finished):
        written.append(len(finished))
        clock[0] += 30

    table, runs = TableWriter(write, print), []
    table.update(runs)
    assert written == []  # nothing is finished
    for _ in range(40):  # a run ends every 10 seconds
        clock[0] += 10
        runs.append(RUN)
        table.update(runs)
    assert written == [1, 28]  # 270 s of 300 go by between them
    table.update(runs, at_once=True)
    table.update(runs, at_once=True)
    assert written == [1, 28, 40]


@pytest.mark.parametrize("kind", [OSError, TypeError])  # a full disk, a fault of the program
def test_a_table_that_cannot_be_written_is_said_and_tried_again(clock, kind):
    said, works = [], []

    def write(finished):
        if not works:
            raise kind("full")

    table = TableWriter(write, said.append)
    table.update([RUN])
    assert (table.problems, said) == (["the table"], [f"the table FAILED: {kind.__name__}: full"])
    works.append(True)
    table.update([RUN] * 2)
    assert table.problems == []
