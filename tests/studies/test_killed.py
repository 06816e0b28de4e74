"""A study that is killed goes on where it was, and ends with the same table."""

import csv
import json
import os
import signal
import time

import forked

from aftrans_jax.training.stored import numbers

GIVEN = ("--seeds=1", "--config.data.num_test=60")


def finish(folder, workdir, *arguments):
    process = forked.start(folder, workdir, *arguments)
    process.join(120)
    return process.exitcode, (folder / "output.txt").read_text()


def wait_for(happened):
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def table(workdir):
    """The rows of table.csv but for the speed, which no two runs share."""
    rows = csv.DictReader((workdir / "table.csv").read_text().splitlines())
    return [{key: x for key, x in row.items() if key != "images_per_second"} for row in rows]


def test_killed_three_times_it_ends_with_the_same_table(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish(tmp_path, whole, *GIVEN)[0] == 0

    first, second = killed / "keep-0.2" / "seed0", killed / "keep-0.6" / "seed0"
    moments = (
        (lambda: numbers(first / "checkpoints"), False),  # the training goes on alone
        (lambda: (first / "result.json").exists(), False),
        (lambda: numbers(second / "checkpoints"), True),  # the training is killed too
    )
    for happened, both in moments:
        process = forked.start(tmp_path, killed, *GIVEN)
        wait_for(happened)
        os.kill(process.pid, signal.SIGKILL)
        if both:
            os.kill(json.loads((second / ".lock").read_text())["pid"], signal.SIGKILL)
        process.join()
    assert not (second / "result.json").exists()
    code, output = finish(tmp_path, killed, *GIVEN)
    assert code == 0, output
    assert table(killed) == table(whole)
    assert [row["row"] for row in table(whole)] == ["keep 0.2", "Keep: 0.6", "Keep: 0.6"]
    assert "1 of 2 runs are finished" in output
    assert (killed / "table.html").exists()
