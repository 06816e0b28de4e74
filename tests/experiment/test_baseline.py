"""Which finished run is the plain ViT that a report is held against."""

import json

import numpy as np
import pytest

from aftrans_jax.config import base_config
from aftrans_jax.experiment.baseline import find_baseline
from aftrans_jax.report.answers import Answers

NAMES = [f"{number}.jpg" for number in range(4)]


def settings(**changes):
    """Of a run of 4 steps; keys are written `group__name`."""
    config = base_config()
    for key, value in ({"train__steps": 4, "data__source_size": 448} | changes).items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    return config.to_dict()


def finished(workdir, *, step=4, names=NAMES, named="aaab", **changes):
    """A directory that looks finished, of a plain ViT."""
    workdir.mkdir(parents=True)
    written = settings(model__name="vit", data__source_size=224, **changes)
    (workdir / "config.json").write_text(json.dumps(written))
    (workdir / "result.json").write_text(json.dumps({"step": step, "config": written}))
    rows = [f"{name},a,{said},0.5,,,," for name, said in zip(names, named, strict=True)]
    header = "name,true,global,global_confidence,top,left,bottom,right"
    (workdir / "predictions.csv").write_text("\n".join([header, *rows, ""]))


def found(workdir, **changes):
    """What a run that names the first and the last image right finds; all are of class a."""
    workdir.mkdir(parents=True, exist_ok=True)
    said = {"sum": np.array([0, 1, 1, 0], np.int32)}
    sure = {"sum": np.full(4, 0.5, np.float32)}
    answers = Answers(np.zeros(4, np.int32), said, sure, "sum", ("a", "b"))
    return find_baseline(workdir, settings(**changes), answers, NAMES)


@pytest.mark.parametrize(
    ("run", "vit"), [("cub", "cub,model.name=vit"), ("aftrans/seed0", "vit/seed0")]
)
def test_a_plain_vit_is_found_beside_a_run_and_in_a_study(tmp_path, monkeypatch, run, vit):
    finished(tmp_path / vit)
    monkeypatch.chdir(tmp_path)
    baseline, said = found(tmp_path / run)
    assert said == ""
    assert baseline.name == vit
    assert (baseline.accuracy.hits, baseline.accuracy.total) == (3, 4)
    assert (baseline.only_here, baseline.only_there) == (1, 2)
    assert baseline.command == f"python -m aftrans_jax.compare {vit} {run}"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"train__learning_rate": 0.5},
        {"data__image_size": 448},
        {"pretrained": "other.npz"},
        {"step": 3},
        {"names": ["0.jpg", "1.jpg", "2.jpg", "other.jpg"]},
    ],
)
def test_other_settings_steps_or_images_are_no_baseline(tmp_path, changes):
    finished(tmp_path / "vit", **changes)
    baseline, said = found(tmp_path / "run")
    assert baseline is None
    assert "No finished plain ViT of the same settings" in said


def test_what_cannot_be_read_is_passed_over(tmp_path):
    for number, file in enumerate(("result.json", "predictions.csv")):
        finished(tmp_path / str(number))
        (tmp_path / str(number) / file).write_text("[")
    finished(tmp_path / "unfinished")
    (tmp_path / "unfinished" / "predictions.csv").unlink()
    (tmp_path / "a file").write_text("")
    assert found(tmp_path / "run")[0] is None


def test_a_plain_vit_has_no_baseline_and_says_nothing(tmp_path):
    finished(tmp_path / "vit")
    assert found(tmp_path / "run", model__name="vit") == (None, "")
