"""Runs in processes: their order, what fails, and what a signal does."""

import os
import signal
import sys
import threading
import time

import pytest
from experiments import tiny_config

from aftrans_jax.json_files import read_json, write_json
from aftrans_jax.studies import processes
from aftrans_jax.studies.definition import Row, Study
from aftrans_jax.studies.plan import plan

# In the place of a training: says that it began, and saves when it is asked to end.
WORK = """
import json, pathlib, signal, sys, time

workdir = pathlib.Path(sys.argv[1].partition("=")[2])

def save(*_):
    time.sleep(0.3)
    (workdir / "saved").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
(workdir / "began").touch()
{rest}
"""
FINISH = """
config = json.loads((workdir / "config.json").read_text())
config.pop("checksum", None)
scores = json.dumps({"step": config["train"]["steps"], "config": config})
if "--mode=eval" in sys.argv:
    assert sys.argv[3:] == ["--config.region.method=annotated"]
    (workdir / "eval-test-annotated.predictions.csv").touch()
    (workdir / "eval-test-annotated.json").write_text(scores)
elif workdir.parent.name == FAILS:
    print("error: no luck")
    sys.exit(1)
else:
    time.sleep(0.5)
    (workdir / "result.json").write_text(scores)
"""
ROWS = {
    "b": Row(),
    "boxes": Row({"region.method": "annotated"}, evaluates="b"),
    "c": Row({"sacm.keep_ratio": 0.5}),
}


def trained(tmp_path, rest, num_jobs=2):
    """Runs all; returns the signal, and what began and ended in that order."""
    runs = plan(Study("t", ROWS, "b"), tiny_config(), tmp_path, num_seeds=1, given=())
    told = []
    number = processes.train_all(
        runs,
        num_jobs=num_jobs,
        command=[sys.executable, "-c", WORK.replace("{rest}", rest)],
        environment=None,
        started=lambda job: told.append(("began", job.run.row)),
        ended=lambda run, seconds, problem: told.append((problem or "ended", run.row)),
    )
    return number, told


def test_an_evaluation_waits_for_its_training(tmp_path):
    number, told = trained(tmp_path, "FAILS = None" + FINISH)
    assert number == 0
    assert told[:2] == [("began", "b"), ("began", "c")]
    assert told.index(("ended", "b")) < told.index(("began", "boxes"))
    assert ("ended", "boxes") in told
    assert (tmp_path / "b" / "seed0-boxes.log").exists()


def test_an_evaluation_finds_photos_that_were_moved(tmp_path):
    """It reads the run's record: a data.dir on the command line would mean another set."""
    study = Study("t", {name: ROWS[name] for name in ("b", "boxes")}, "b")
    for place in ("here", "there"):
        base = tiny_config(data__dir=str(tmp_path / place))
        training, evaluation = plan(study, base, tmp_path, num_seeds=1, given=())
        if place == "here":
            work = WORK.replace("{rest}", "FAILS = None" + FINISH)
            processes.Job(training, [sys.executable, "-c", work], None).wait()
    job = processes.Job(evaluation, [sys.executable, "-c", work], None)
    job.wait()
    assert job.exit_code() == 0
    record = read_json(training.workdir / "config.json", lambda _: True, "")
    assert record["data"]["dir"] == str(tmp_path / "there")


def test_a_folder_of_the_user_s_own_is_no_place_for_a_row(tmp_path):
    mine = tmp_path / "b" / "seed0" / "config.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    _, told = trained(tmp_path, "FAILS = None" + FINISH)
    problems = {row: problem for problem, row in told if row != "c"}
    assert "has no record of a run, but" in problems["b"]
    assert mine.read_text() == "{}"
    assert list(mine.parent.iterdir()) == [mine]


def test_what_failed_is_not_evaluated(tmp_path):
    number, told = trained(tmp_path, "FAILS = 'b'" + FINISH, num_jobs=1)
    assert number == 0
    assert [row for _, row in told] == ["b", "b", "boxes", "c", "c"]  # one after the other
    (problem, row), *others = [x for x in told if x[0] not in ("began", "ended")]
    assert problem.startswith("exit code 1: no luck (all that it said: ")
    assert row == "b"
    assert others == [("b, seed 0 is not finished, which it evaluates", "boxes")]
    assert told[-1] == ("ended", "c")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_has_trainings_save_and_starts_no_other(tmp_path, number):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    folders = [tmp_path / row / "seed0" for row in ("b", "c")]

    def interrupt():
        end = time.monotonic() + 60
        while time.monotonic() < end and not all((x / "began").exists() for x in folders):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    found, told = trained(tmp_path, "time.sleep(60)")
    thread.join()
    assert found == number
    assert told == [("began", "b"), ("began", "c")]  # neither an end nor an evaluation
    assert all((folder / "saved").exists() for folder in folders)  # they were waited for
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert handlers == before


def test_a_hang_up_that_is_ignored_stays_so():
    """As by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with processes.Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0)
            assert not stop.signal
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_record_of_what_was_trained_is_left_and_what_differs_given(tmp_path):
    study = Study("t", {"b": Row({"train.epochs": 40.0})}, "b")
    base = tiny_config(train__steps=0, train__warmup_steps=-1, data__dir="b c", eval__mirror=True)
    (run,) = plan(study, base, tmp_path, num_seeds=1, given=())
    folder = tmp_path / "b" / "seed0"
    (folder / "checkpoints" / "30").mkdir(parents=True)
    recorded = run.config.to_dict()
    recorded["train"] |= {"steps": 30, "epochs": 10.0, "warmup_steps": 1}
    recorded["data"]["dir"], recorded["eval"]["mirror"] = "elsewhere", False
    write_json(folder / "config.json", recorded)
    given = [
        *("--config.train.steps=0", "--config.train.epochs=40.0"),
        *("--config.train.warmup_steps=-1", "--config.data.dir=b c", "--config.eval.mirror=True"),
    ]
    for path, arguments in ((folder, given), (tmp_path / "new", [])):
        path.mkdir(exist_ok=True)
        work = "import sys; print(sorted(sys.argv[1:]))"
        job = processes.Job(run._replace(workdir=path), [sys.executable, "-c", work], None)
        job.wait()
        said = job.log.read_text().strip()
        assert said == str(sorted([f"--workdir={path}", *arguments]))
    kept, new = (
        read_json(path / "config.json", lambda _: True, "") for path in (folder, tmp_path / "new")
    )
    assert (kept["train"]["steps"], kept["train"]["epochs"]) == (30, 10)
    assert new["train"]["epochs"] == 40


def test_a_training_that_fails_again_is_told_by_what_it_said_now_in_a_group_of_its_own(tmp_path):
    (run,) = plan(Study("t", {"b": Row()}, "b"), tiny_config(), tmp_path, num_seeds=1, given=())
    run.workdir.mkdir(parents=True)
    run.log.write_text("error: of an earlier attempt\n")
    work = "import os; print(os.environ['A'], os.getpgrp() == os.getpid()); raise SystemExit(3)"
    job = processes.Job(run, [sys.executable, "-c", work], os.environ | {"A": "alone"})
    job.wait()
    assert job.problem(job.exit_code()) == f"exit code 3: alone True (all that it said: {run.log})"
