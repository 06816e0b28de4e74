"""A whole run through the command line, and what it leaves behind for users and other code."""

import gzip
import itertools
import json
import shutil
import sys

import events
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from experiments import tiny_config, tiny_variants
from npz_file import read_npz
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from aftrans_jax import export, main, predict
from aftrans_jax.run import results
from aftrans_jax.weights.reading import open_weights
from aftrans_jax.workdir.predictions_csv import read_predictions

RESULT_KEYS = {
    "step", "num_test", "global_accuracy", "local_accuracy", "sum_accuracy", "test_loss",
    "box_area_mean", "images_per_second", "seconds", "config", "versions",
}  # fmt: skip


NUMBERS = itertools.count()


def start(workdir, mode="train", **changes):
    """`main` with a configuration file that holds the tiny one."""
    # Of a file of the same size and second Python takes what it has compiled before.
    path = workdir.parent / f"tiny{next(NUMBERS)}.py"
    settings = tiny_config(report__num_images=20, **changes).to_dict()
    path.write_text(
        f"from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({settings})"
    )
    given = ["main", f"--config={path}", f"--workdir={workdir}", f"--mode={mode}"]
    with flagsaver.flagsaver(), tiny_variants():
        flags.FLAGS.unparse_flags()
        main.main(main.parse_flags(given))
    name = "result" if mode == "train" else "eval-test"
    return json.loads((workdir / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("end_to_end") / "run"
    return workdir, start(workdir, report__tensorboard=True)


def test_result_json_keeps_the_contract(trained):
    _, result = trained
    assert result.keys() >= RESULT_KEYS
    assert (result["step"], result["num_test"]) == (6, 20)
    for name in ("global", "local", "sum"):
        assert (result[f"{name}_accuracy"] * 20) % 1 == pytest.approx(0, abs=1e-6)
    losses = result["global_loss"], result["local_loss"]
    assert result["test_loss"] == pytest.approx(sum(losses), rel=1e-6)  # alpha = beta = 1
    assert 0 < result["box_area_mean"] <= 1
    assert result["images_per_second"] > 0
    assert result["config"]["train"]["steps"] == 6
    assert {"python", "jax", "flax"} <= result["versions"].keys()
    assert len(result["gate_mean"]) == 2
    assert all(0 < gate < 1 for gate in result["gate_mean"])


def test_result_json_has_the_mean_per_class_accuracy_of_each_head(trained):
    workdir, result = trained
    said = read_predictions(workdir / "predictions.csv")
    for head, named in said.predicted.items():
        expected = balanced_accuracy_score(said.true, named)
        assert result[f"{head}_mean_per_class_accuracy"] == pytest.approx(expected), head


def test_the_workdir_holds_what_the_readme_says(trained):
    workdir, _ = trained
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["split"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if r["split"] == "test"] == [6]
    assert 0 < (workdir / "report" / "index.html").read_text().count("<article") <= 20
    assert json.loads((workdir / "config.json").read_text())["data"]["name"] == "synthetic"
    assert len(json.loads((workdir / "classes.json").read_text())) == 12
    assert "vit/embedding/kernel" in (workdir / "parameters.txt").read_text()
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"6", "scores.json"}
    assert not (workdir / "lists.csv.gz").exists()  # the images are drawn


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_has_the_configuration_and_the_pictures_of_the_report(trained):
    workdir, _ = trained
    found = events.accumulated(workdir)
    assert events.settings(found)["train.steps"].number_value == 6
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    pictures = events.pictures(found)
    page = (workdir / "report" / "index.html").read_text()
    assert len(pictures) == page.count("<article")
    for step, pixels in pictures.values():  # the image, its relevance and its crop, all as high
        assert (step, len(pixels)) == (6, 320)
        assert pixels.shape[1] > 640


def test_every_start_is_recorded_with_its_command_and_may_be_profiled(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["main.py", "--workdir=a b"])
    start(tmp_path / "run", train__steps=2, model__name="vit")
    start(tmp_path / "run", train__steps=2, model__name="vit")  # finished: nothing is started
    start(tmp_path / "run", train__steps=9, model__name="vit", train__profile=True)
    assert "note: train.profile was False, is now True" in capsys.readouterr().out
    (trace,) = tmp_path.glob("run/profile/plugins/profile/*/perfetto_trace.json.gz")
    assert b'"train"' in gzip.decompress(trace.read_bytes())
    lines = (tmp_path / "run" / "commands.txt").read_text().splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        "python -m aftrans_jax.main '--workdir=a b'"
    ] * 2
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert all(line.replace("'", "&#39;") in page for line in lines)


def test_predictions_hold_each_images_box(trained):
    workdir, result = trained
    top, left, bottom, right = read_predictions(workdir / "predictions.csv").boxes.T
    assert (top >= 0).all()
    assert (right <= 32).all()
    area = (bottom - top) * (right - left)
    assert area.mean() / 32**2 == pytest.approx(result["box_area_mean"], rel=1e-6)


def contents(workdir):
    files = (path for path in workdir.rglob("*") if path.is_file())
    return {path.relative_to(workdir).as_posix(): path.read_bytes() for path in files}


def test_eval_scores_the_checkpoint_as_training_did_and_writes_files_of_its_own(trained):
    workdir, result = trained
    before = contents(workdir)
    again = start(workdir, mode="eval")
    for name in (
        "step",
        "num_test",
        "global_accuracy",
        "sum_accuracy",
        "test_loss",
        "box_area_mean",
    ):
        assert again[name] == result[name]
    after = contents(workdir)
    assert after.pop("eval-test.json")
    assert after.pop("eval-test.predictions.csv") == after["predictions.csv"]
    assert after == before


def test_eval_takes_from_the_record_what_defines_the_training(trained, capsys):
    """Another split would test on training images; another kind of GELU is another model."""
    workdir, result = trained
    again = start(workdir, mode="eval", data__validation_fraction=0.3, model__gelu="exact")
    assert again["test_loss"] == result["test_loss"]
    said = capsys.readouterr().out
    assert "taken from the record of the run: data.validation_fraction, model.gelu" in said


def test_other_classes_do_not_pass_for_those_trained_on(trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    names = json.loads((workdir / "classes.json").read_text())
    (workdir / "classes.json").write_text(json.dumps([*names[1:], names[0]]))
    with pytest.raises(SystemExit, match=r"in another order than in .*classes\.json"):
        start(workdir, train__steps=8)


def test_another_split_does_not_pass_for_the_one_trained_on(trained, tmp_path):
    """Else the best on "validation" images would be the best on those it had learnt."""
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    with pytest.raises(SystemExit, match=r"data\.validation_fraction was 0\.0, is now 0\.3\. Set"):
        start(workdir, data__validation_fraction=0.3)


def test_the_best_on_validation_images_is_tested_once(tmp_path, monkeypatch):
    reports, write = [], results.write_report
    monkeypatch.setattr(
        results, "write_report", lambda path, report: reports.append(report) or write(path, report)
    )
    changes = {"model__name": "vit", "data__validation_fraction": 0.4, "eval__every": 2}
    workdir = tmp_path / "run"
    result = start(workdir, **changes, data__num_test=40, eval__batch_size=16)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    scores = {split: {} for split in ("train", "validation", "test")}
    for record in map(json.loads, lines):
        scores[record["split"]][record["step"]] = record
    assert list(scores["validation"]) == [2, 4, 6]
    shown = {name: [x["step"] for x in known] for name, known in reports[0].history.items()}
    assert shown == {"train": [1, 2, 3, 4, 5, 6], "validation": [2, 4, 6], "test": [result["step"]]}
    assert list(scores["test"]) == [result["step"]]
    best = max(record["global_accuracy"] for record in scores["validation"].values())
    assert scores["validation"][result["step"]]["global_accuracy"] == best
    assert result["validation"]["global_accuracy"] == best
    assert (result["num_train"], result["num_test"]) == (12, 40)  # one of each class's two is out
    again = start(workdir, mode="eval", **changes, data__num_test=40, eval__batch_size=16)
    assert (again["step"], again["test_loss"]) == (result["step"], result["test_loss"])


def test_predict_and_export_work_from_the_workdir(trained, tmp_path, monkeypatch, capsys):
    workdir, _ = trained
    Image.new("RGB", (50, 40), (90, 120, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(
        sys, "argv", ["predict", f"--workdir={workdir}", "--top=12", str(tmp_path / "a.png")]
    )
    with tiny_variants():
        predict.main()
        lines = capsys.readouterr().out.splitlines()
        probabilities = [float(line.split("\t")[1].rstrip("%")) for line in lines]
        assert len(lines) == 12
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(100, abs=1)
        monkeypatch.setattr(sys, "argv", ["export", f"--workdir={workdir}"])
        export.main()
    arrays = read_npz(workdir / "trunk.npz")
    assert arrays["Transformer/posembed_input/pos_embedding"].shape == (1, 17, 12)
    assert arrays["head/bias"].shape == (12,)
    assert np.abs(arrays["head/kernel"]).max() > 0
    assert not [name for name in arrays if "local" in name or "sacm" in name]
    with open_weights(str(workdir / "trunk.npz")) as weights:
        halves = (0.5, 0.5, 0.5)
        assert weights.origin == ("tanh", halves, halves, "exported from run", 32)
