"""A study that is killed goes on where it was, and ends with the same table: a minute.

python -m pytest tests/studies/run_killed.py   # launch/test_versions.sh does so
"""

import csv
import json
import os
import signal
import time

import forked
import pytest

from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers

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
        (lambda: checkpoint_numbers(first / "checkpoints"), False),  # the training goes on alone
        (lambda: (first / "result.json").exists(), False),
        (lambda: checkpoint_numbers(second / "checkpoints"), True),  # the training is killed too
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
    rows = [(row["row"], row["judged_by"]) for row in table(whole)]
    assert rows == [
        ("keep 0.2", "local"), ("Keep: 0.6", "local"), ("Keep: 0.6", "sum"), ("boxes", "local")
    ]  # fmt: skip
    assert "1 of 3 runs are finished" in output
    assert (killed / "table.html").exists()

    # The last line is the evaluation by boxes, whose global logits are those of the training.
    boxes = json.loads((second / "eval-test-annotated.json").read_text())
    result = json.loads((second / "result.json").read_text())
    assert boxes["config"]["region"]["method"] == "annotated"
    assert boxes["global_accuracy"] == result["global_accuracy"]
    assert boxes["box_area_mean"] != result["box_area_mean"]
    last = table(whole)[-1]
    assert float(last["test_local_mean"]) == pytest.approx(100 * boxes["local_accuracy"])
    assert last["difference"] != ""
    (second / "eval-test-annotated.json").unlink()
    code, output = finish(tmp_path, killed, *GIVEN, "--dry_run")
    assert "[3/3] boxes, seed 0: to do" in output
    assert "2 of 3 runs are finished" in output
    assert finish(tmp_path, killed, *GIVEN)[0] == 0
    assert table(killed) == table(whole)
