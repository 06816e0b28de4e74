"""The choice of the plain ViT that a report compares a run with."""

import json
import shlex

import numpy as np
import pytest

from aftrans_jax.config import base_config
from aftrans_jax.report.statistics import SplitPredictions
from aftrans_jax.run.baseline import find_baseline

NAMES = [f"{number}.jpg" for number in range(4)]


def settings(**changes):
    """Settings of a run of 4 steps; keys are written `group__name`."""
    config = base_config()
    for key, value in ({"train__steps": 4, "data__source_size": 448} | changes).items():
        group, _, name = key.rpartition("__")
        (config[group] if group else config)[name] = value
    return config.to_dict()


def finished(workdir, *, steps=4, step=4, names=NAMES, true="aaaa", named="aaab", **changes):
    """A directory that looks finished, of a plain ViT."""
    workdir.mkdir(parents=True)
    written = settings(model__name="vit", data__source_size=224, **changes)
    (workdir / "config.json").write_text(json.dumps(written))
    trained = written | {"train": written["train"] | {"steps": steps}}
    (workdir / "result.json").write_text(json.dumps({"step": step, "config": trained}))
    rows = [
        f"{name},{is_a},{said},0.5,,,," for name, is_a, said in zip(names, true, named, strict=True)
    ]
    header = "name,true,global,global_confidence,top,left,bottom,right"
    (workdir / "predictions.csv").write_text("\n".join([header, *rows, ""]))


def found(workdir, **changes):
    """Predictions that are right for the first and the last image; all are of class a."""
    workdir.mkdir(parents=True, exist_ok=True)
    said = {"sum": np.array([0, 1, 1, 0], np.int32)}
    sure = {"sum": np.full(4, 0.5, np.float32)}
    answers = SplitPredictions(np.zeros(4, np.int32), said, sure, "sum", ("a", "b"))
    return find_baseline(workdir, settings(**changes), answers, NAMES)


@pytest.mark.parametrize(
    ("run", "vit"),
    [
        ("cub", "cub,model.name=vit"),
        ("aftrans/seed0", "vit/seed0"),
        ("aftrans/run[1]", "vit/run[1]"),
    ],
)
def test_a_plain_vit_is_found_beside_a_run_and_in_a_study(tmp_path, monkeypatch, run, vit):
    finished(tmp_path / vit)
    monkeypatch.chdir(tmp_path)
    baseline, said = found(tmp_path / run)
    assert said == ""
    assert baseline.name == vit
    assert (baseline.accuracy.hits, baseline.accuracy.total) == (3, 4)
    assert (baseline.only_here, baseline.only_there) == (1, 2)
    assert shlex.split(baseline.command) == ["python", "-m", "aftrans_jax.compare", vit, run]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"train__learning_rate": 0.5},
        {"data__image_size": 448},
        {"pretrained": "other.npz"},
        {"steps": 3, "step": 3},
        {"loss__alpha": 0.5},
        {"eval__mirror": True},
        {"true": "aaba"},  # a label that was corrected since
        {"names": ["0.jpg", "1.jpg", "2.jpg", "other.jpg"]},
    ],
)
def test_other_settings_steps_images_or_labels_are_no_baseline(tmp_path, changes):
    finished(tmp_path / "vit", **changes)
    baseline, said = found(tmp_path / "run")
    assert baseline is None
    assert "No finished plain ViT of the same settings" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 2, "data__validation_fraction": 0.25},  # of 4 steps, the best of which is the 2nd
        {"loss__beta": 0.5, "loss__distill": 1.0, "loss__contrastive": 1.0},
        {"sacm__keep_ratio": 0.5, "region__min_box": 64, "data__local_size": 112},
    ],
)
def test_what_a_plain_vit_does_not_read_may_differ(tmp_path, changes):
    finished(tmp_path / "vit", **changes)
    shared = {key: changes[key] for key in changes if key.startswith("data__validation")}
    assert found(tmp_path / "run", **shared)[0] is not None


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
