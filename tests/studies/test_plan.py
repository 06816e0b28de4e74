"""From rows of changes to runs: order, settings, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from experiments import tiny_config
from PIL import Image

from aftrans_jax.studies.definition import Row, Study, load_study, slug
from aftrans_jax.studies.plan import Run, expected_seconds, is_finished, plan
from aftrans_jax.studies.probe_rows import probe_plan
from aftrans_jax.studies.rows import row_config
from aftrans_jax.studies.study import StudyProgress, dry_run, with_boxes

ROWS = {
    "a": Row(),
    "b": Row({"train.steps": lambda steps: 2 * steps}),
    "c": Row({"data.source_size": 64}),
}
STUDY = Study("s", ROWS, base="a")


def runs(folder, given=(), rows=STUDY, num_seeds=2):
    return plan(rows, tiny_config(), folder, num_seeds=num_seeds, given=given)


def probe_runs(folder, rows):
    return probe_plan(rows, tiny_config(), folder, given=())


def test_seed_0_of_every_row_comes_first(tmp_path):
    found = runs(tmp_path)
    assert [(run.row, run.seed) for run in found] == [(r, s) for s in (0, 1) for r in "abc"]
    assert [run.config.seed for run in found] == [0, 0, 0, 1, 1, 1]
    assert found[4].workdir == tmp_path / "b" / "seed1"


def test_a_change_is_a_value_or_a_function(tmp_path):
    a, b, c = (run.config for run in runs(tmp_path)[:3])
    assert (a.train.steps, b.train.steps) == (6, 12)
    assert (a.data.source_size, c.data.source_size) == (32, 64)


def test_a_home_directory_in_a_row_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    rows = Study("s", {"a": Row({"data.dir": "~/birds"})}, "a")
    for planned in (runs, probe_runs):
        assert planned(tmp_path, rows=rows)[0].config.data.dir == f"{tmp_path}/birds"
    with pytest.raises(ValueError, match=r"row 'x': '\$ABSENT/birds' names a variable"):
        row_config("x", {"data.dir": "$ABSENT/birds"}, tiny_config())


def test_a_probe_that_would_look_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"row 'a' has eval.mirror=True: a probe looks .* once"):
        probe_runs(tmp_path, Study("s", {"a": Row({"eval.mirror": True})}, "a"))


def test_what_a_row_sets_cannot_be_given(tmp_path):
    with pytest.raises(ValueError, match=r"row 'c' sets data.source_size=64, .* leave that out"):
        runs(tmp_path, given=["data.source_size"])
    with pytest.raises(ValueError, match="takes seeds from 0 up"):
        runs(tmp_path, given=["seed"])
    runs(tmp_path, given=["train.steps"])  # the row takes twice what is given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.nosuch": 1}, "changes train.nosuch, which is no key"),
        ({"model.nam": "vit"}, r"model\.nam, which is no key .*did you mean one of model\.name, "),
        ({"model": "vit"}, "changes model, which is no key"),
        ({"train.steps": "many"}, "sets train.steps='many': expected int, as the base's 6"),
        ({"train.steps": None}, "sets train.steps=None: expected int"),
        ({"train.steps": lambda steps: steps / 4}, "sets train.steps=1.5: expected int"),
        ({"train.steps": lambda steps: None}, "sets train.steps=None: expected int"),
        ({"train.steps": lambda steps: steps / 0}, "fails for the base's 6: ZeroDivisionError: "),
        ({"region.method": "nosuch"}, "region.method='nosuch' is unknown: choose one of"),
    ],
)
def test_a_wrong_row_is_named(changes, message):
    with pytest.raises(ValueError, match=f"row 'x'.*{message}"):
        row_config("x", changes, tiny_config())


def finish(run: Run, seconds: float, **settings):
    run.workdir.mkdir(parents=True)
    config = json.loads(run.config.to_json()) | settings
    result = {"step": config["train"]["steps"], "config": config, "seconds": seconds}
    (run.workdir / "result.json").write_text(json.dumps(result))


def test_finished_runs_are_known_and_others_refused(tmp_path):
    first, second, *_ = found = runs(tmp_path)
    assert not is_finished(first)
    assert expected_seconds(found, []) is None
    finish(first, 10.0)
    assert is_finished(first)
    finish(second, 1.0, seed=7)
    with pytest.raises(
        ValueError, match=r"seed was 7, is now 0.* or give the study another --workdir$"
    ):
        is_finished(second)


def test_a_dry_run_says_which_runs_a_study_would_refuse(tmp_path):
    study, said = Study("s", {"a": Row(), "b": Row()}, "a"), []
    (first, _) = plan(study, tiny_config(), tmp_path, num_seeds=1, given=())
    finish(first, 10.0)
    (first.workdir / "checkpoints" / "9").mkdir(parents=True)  # batches; three were no step
    assert is_finished(first)
    shorter = plan(study, tiny_config(train__steps=5), tmp_path, num_seeds=1, given=())
    assert dry_run(shorter, num_jobs=1, say=said.append) == ["a, seed 0"]
    assert said[0].startswith("[1/2] a, seed 0 FAILED: ")
    assert "6 trained steps, more than train.steps=5: raise it to go on, or give the st" in said[0]
    assert said[1].startswith("[1/2] a, seed 0: refused")
    assert said[2].startswith("[2/2] b, seed 0: to do")
    assert "0 of 2 runs are finished; 1 cannot be trained; the others take" in said[3]


def test_a_training_that_left_other_settings_has_failed_and_the_others_go_on(tmp_path):
    run, *others = runs(tmp_path)
    progress = StudyProgress([run, *others], num_jobs=1, say=lambda line: None)
    finish(run, 1.0, seed=7)
    progress.ended(run, 1.0, None)
    assert (progress.failures, progress.open) == ([run], others)


@pytest.mark.parametrize(
    ("key", "now", "message"),
    [
        ("eval__mirror", True, "eval.mirror=False, and the study has eval.mirror=True now: set it"),
        (
            "eval__resize_ratio",
            1.5,
            "eval.resize_ratio=0.0, and the study has eval.resize_",
        ),
        ("train__precision", "float32", "train.precision='auto', and the study has"),
    ],
)
def test_runs_whose_answers_differ_are_refused(tmp_path, key, now, message):
    (run,) = plan(Study("s", {"a": Row()}, "a"), tiny_config(), tmp_path, num_seeds=1, given=())
    finish(run, 10.0)
    old, new = plan(
        Study("s", {"a": Row()}, "a"), tiny_config(**{key: now}), tmp_path, num_seeds=2, given=()
    )
    with pytest.raises(ValueError, match=rf"a/seed0 was scored with {message}"):
        is_finished(old)
    assert not is_finished(new)
    said = []
    progress = StudyProgress([old, new], num_jobs=1, say=said.append)
    assert (progress.failures, progress.open, progress.finished) == ([old], [new], [])
    assert said[0].endswith("move result.json out of that folder to have the run scored again")
    (run.workdir / "result.json").rename(tmp_path / "moved.json")
    assert not is_finished(old)  # it goes on, and is scored as the others


@pytest.mark.parametrize(
    ("device", "precision", "other"),
    [
        ("1 x cpu", "float32", "float16"),
        ("8 x NVIDIA H100 80GB HBM3", "bfloat16", "float16"),
        ("2 x Tesla T4 (compute capability 7.5)", "float16", "bfloat16"),
    ],
)
def test_what_auto_meant_where_a_run_was_scored_is_no_other_setting(
    tmp_path, device, precision, other
):
    study = Study("s", {"a": Row()}, "a")

    def planned(precision):
        base = tiny_config(train__precision=precision)
        return plan(study, base, tmp_path, num_seeds=1, given=())[0]

    for then, now in (("auto", precision), (precision, "auto")):
        run = planned(then)
        finish(run, 10.0)
        path = run.workdir / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"device": device}))
        assert is_finished(planned(now))
        with pytest.raises(ValueError, match=f"precision='{then}', .*precision='{other}' now"):
            is_finished(planned(other))
        shutil.rmtree(run.workdir)


CEILING = Study(
    "s",
    {
        "a": Row(),
        "b": Row({"sacm.keep_ratio": 0.5}),
        "boxes": Row({"region.method": "annotated"}, evaluates="b"),
    },
    base="a",
)


def evaluate(run: Run, seconds: float, step: int = 6):
    scores = {"step": step, "config": json.loads(run.config.to_json()), "seconds": seconds}
    (run.workdir / "eval-test-annotated.json").write_text(json.dumps(scores))
    (run.workdir / "eval-test-annotated.predictions.csv").touch()


def test_a_row_that_evaluates_another_has_its_directories(tmp_path):
    found = runs(tmp_path, rows=CEILING)
    assert [run.row for run in found] == ["a", "b", "boxes"] * 2
    trained, boxes = found[4:]
    assert boxes.trained is trained
    assert boxes.workdir == trained.workdir == tmp_path / "b" / "seed1"
    assert (trained.log.name, boxes.log.name) == ("seed1.log", "seed1-boxes.log")
    assert (boxes.config.region.method, boxes.config.sacm.keep_ratio) == ("annotated", 0.5)
    assert trained.config.region.method != "annotated"


def test_an_evaluation_is_finished_where_it_is_of_the_finished_run(tmp_path):
    *_, trained, boxes = runs(tmp_path, rows=CEILING, num_seeds=1)
    assert not is_finished(boxes)
    finish(trained, 10.0)
    assert not is_finished(boxes)
    evaluate(boxes, 1.0)
    assert is_finished(boxes)
    evaluate(boxes, 1.0, step=3)  # before the run went on
    assert not is_finished(boxes)
    evaluate(boxes, 1.0)
    *_, mirrored = plan(CEILING, tiny_config(), tmp_path, num_seeds=1, given=())
    mirrored.config.eval.mirror = True
    with pytest.raises(ValueError, match=r"move eval-test-annotated\.json out"):
        is_finished(mirrored)
    boxes.workdir.joinpath("eval-test-annotated.predictions.csv").unlink()
    assert not is_finished(boxes)


def test_an_evaluation_takes_what_evaluations_took(tmp_path):
    found = runs(tmp_path, rows=CEILING)
    finish(found[1], 40.0)
    assert expected_seconds(found[3:], [found[1]]) == 40 + 40 + 0
    evaluate(found[2], 2.0)
    assert expected_seconds(found[3:], found[1:3]) == 40 + 40 + 2


def test_without_annotated_boxes_the_row_is_left_out(tmp_path, rng):
    said = []
    found = runs(tmp_path / "study", rows=CEILING, num_seeds=2)
    assert with_boxes(found, said.append) == found  # the built-in birds have them
    for number, split in enumerate(("train", "test", "train", "test")):
        path = tmp_path / "photos" / split / "ab"[number // 2] / "x.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    base = tiny_config(data__name="folder", data__dir=str(tmp_path / "photos"))
    found = plan(CEILING, base, tmp_path / "study", num_seeds=2, given=())
    assert [run.row for run in with_boxes(found, said.append)] == ["a", "b"] * 2
    assert said == ["boxes is left out: 'folder' has no annotated boxes"]
    base.data.dir = str(tmp_path / "nowhere")
    found = plan(CEILING, base, tmp_path / "study", num_seeds=2, given=())
    assert with_boxes(found, said.append) == found


def test_the_time_left_is_that_of_the_row_or_of_all(tmp_path):
    found = runs(tmp_path)
    finish(found[0], 10.0)
    finish(found[1], 30.0)
    # Row c was never run: it takes the median of all, 20 s.
    assert expected_seconds(found[2:], found[:2]) == 20 + 10 + 30 + 20


def test_one_long_run_does_not_make_the_others_long(tmp_path):
    found = runs(tmp_path)
    for run, seconds in zip(found, (10.0, 30.0, 800.0), strict=False):
        finish(run, seconds)
    other = found[3]._replace(row="new")
    assert expected_seconds([other], found[:3]) == 30


def test_several_jobs_share_the_time_and_what_has_begun_is_said(tmp_path):
    """Five runs of ten seconds are left."""
    found = runs(tmp_path)
    finish(found[0], 10.0)
    (found[1].workdir / "checkpoints").mkdir(parents=True)
    for num_jobs, left in ((1, "00:50"), (2, "00:25")):
        progress = StudyProgress(found, num_jobs=num_jobs, say=lambda line: None)
        assert progress.summary().endswith(f"the others take about {left}")
    assert [progress.state(run) for run in found[1:3]] == ["started", "to do"]


def test_a_row_may_need_what_this_machine_lacks():
    """A GPU's attention, of a study that is planned elsewhere."""
    found = row_config("x", {"model.attention": "cudnn"}, tiny_config())
    assert found.model.attention == "cudnn"


def test_a_run_that_was_resumed_counts_as_long_as_all_its_steps(tmp_path):
    """It records the seconds since its last start alone, and its speed."""
    first, *_ = found = runs(tmp_path)
    finish(first, 10.0)
    path = first.workdir / "result.json"
    result = json.loads(path.read_text())
    for told, seconds in (
        ({"images_per_second": 0.5}, 6 * first.config.train.batch_size / 0.5),
        ({"images_per_second": 0.5, "stopped_at_step": 3}, 3 * first.config.train.batch_size / 0.5),
        ({"images_per_second": 1e4}, 10),  # what is no training took the rest
        ({"images_per_second": None}, 10),  # nothing was left to train
    ):
        path.write_text(json.dumps(result | told))
        assert expected_seconds(found[3:4], [first]) == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "describes no study: expected a function get_study"),
        ("get_study = Study", r"study\.py fails: TypeError: .*Expected a study in Python"),
        ("def get_study(:", r"study\.py fails: SyntaxError: "),
        ("import absent_module", r"study\.py fails: ModuleNotFoundError: No module named 'absent"),
        ("get_study = lambda: Study('t', {'a': {}}, 'a')", r"rows=\{'a': \{\}\}: expected"),
        ("get_study = lambda: Study('t', {1: Row()}, 1)", r"rows=\{1: Row\(.*: expected \{'name'"),
        ("get_study = lambda: Study('t', [Row()], 'a')", r"rows=\[Row\(.*: expected \{'name'"),
        (
            "get_study = lambda: Study('t', {'a': Row()}, 'a', '3')",
            "num_seeds='3': expected a whole",
        ),
        ("get_study = lambda: Study('t', {'a': Row([])}, 'a')", r"changes=\[\]: expected"),
        ("get_study = lambda: Study('t', {'a': Row({'seed': 5})}, 'a')", "'a' changes the seed: a"),
        (
            "get_study = lambda: Study('t', {'a': Row({}, 'local')}, 'a')",
            "heads='local': expected a",
        ),
        (
            "get_study = lambda: Study('t', {'a': Row(paper='91')}, 'a')",
            "'a' has paper='91': expec",
        ),
        ("get_study = lambda: Study('t', {'a': Row(paper={'locl': 9})}, 'a')", "paper=.*each name"),
        (
            "get_study = lambda: Study('t', {'a': Row(paper=float('nan'))}, 'a')",
            "paper=nan: expect",
        ),
        ("get_study = lambda: 3", "describes no study"),
        ("get_study = lambda: Study('t', {'a': Row()}, base='b')", "base='b' is no row: choose"),
        ("get_study = lambda: Study('t', {'a': Row()}, 'a', 0)", "num_seeds=0: expected a whole"),
        ("get_study = lambda: Study('t', {'a b': Row(), 'A-b': Row()}, base='a b')", "rename"),
        (
            "get_study = lambda: Study('t', {'a': Row(heads=('x',))}, base='a')",
            "such as .'local',.*, of global",
        ),
        (
            "get_study = lambda: Study('t', {'a': Row(evaluates='b'), 'b': Row()}, base='b')",
            "row 'a' evaluates 'b': expected a row above",
        ),
        (
            "boxes = {'region.method': 'annotated'}; get_study = lambda: Study('t', {'a': Row(), "
            "'b': Row(boxes, evaluates='a'), 'c': Row(boxes, evaluates='b')}, base='a')",
            "row 'c' evaluates 'b': expected a row above that is trained, of a$",
        ),
        (
            "get_study = lambda: Study('t', {'a': Row(), 'b': Row(evaluates='a')}, 'a')",
            "expected {'region.method': 'annotated'}",
        ),
    ],
)
def test_a_wrong_study_is_refused(tmp_path, text, message):
    path = tmp_path / "study.py"
    path.write_text(f"from aftrans_jax.studies.definition import Row, Study\n{text}\n")
    with pytest.raises(ValueError, match=message):
        load_study(path)


def test_the_folder_of_a_row():
    assert slug("Keep 0.2, (both)") == "keep-0.2-both"


def test_a_function_of_what_is_left_open_is_refused():
    base = tiny_config(train__steps=0, train__epochs=1.0)
    with pytest.raises(ValueError, match=r"row 'x' sets train.steps from its value, .* open: give"):
        row_config("x", {"train.steps": lambda steps: 2 * steps}, base)


def test_a_row_may_train_twice_as_long_by_steps_or_by_epochs():
    twice = dict.fromkeys(("train.steps", "train.epochs"), lambda length: 2 * length)
    for length, expected in (((6, 0.0), (12, 0.0)), ((0, 1.5), (0, 3.0))):
        base = tiny_config(train__steps=length[0], train__epochs=length[1])
        train = row_config("x", twice, base).train
        assert (train.steps, train.epochs) == expected


def test_where_steps_are_left_open_epochs_say_what_is_finished(tmp_path):
    def planned(**train):
        base = tiny_config(train__steps=0, **train)
        (run,) = plan(Study("s", {"a": Row()}, "a"), base, tmp_path, num_seeds=1, given=())
        return run

    run = planned(train__epochs=10.0)
    finish(run, 10.0)
    result = json.loads((run.workdir / "result.json").read_text())
    result["config"]["train"]["steps"] = result["step"] = 30  # what the epochs were of these data
    (run.workdir / "result.json").write_text(json.dumps(result))
    assert is_finished(run)
    for epochs in (2.0, 40.0):
        assert not is_finished(planned(train__epochs=epochs))


def test_a_row_of_steps_and_epochs_is_refused(tmp_path):
    message = r"row 'b': train.steps=6 and train.epochs=40.0: expected one .* 0 for the other: "
    with pytest.raises(ValueError, match=message):
        runs(tmp_path, rows=Study("s", {"a": Row(), "b": Row({"train.epochs": 40.0})}, "a"))
    both = Study("s", {"b": Row({"train.steps": 0, "train.epochs": 40.0})}, "b")
    assert runs(tmp_path, rows=both)[0].config.train.epochs == 40


@pytest.mark.parametrize("planned", [runs, probe_runs])
def test_logits_that_the_model_of_a_row_lacks_are_refused(planned, tmp_path):
    rows = {"a": Row(), "b": Row({"model.name": "vit"}, ("global", "local"))}
    message = r"row 'b' has heads=\['global', 'local'\]: .*'vit' has no local logits; .* global$"
    with pytest.raises(ValueError, match=message):
        planned(tmp_path, rows=Study("s", rows, "a"))


def test_a_row_is_judged_by_its_heads_or_by_what_eval_logits_means(tmp_path):
    rows = {"a": Row(heads=("global", "sum")), "b": Row(), "c": Row({"model.name": "vit"})}
    for planned in (runs, probe_runs):
        found = planned(tmp_path, rows=Study("s", rows, "a"))
        assert [run.heads for run in found[:3]] == [("global", "sum"), ("local",), ("global",)]
