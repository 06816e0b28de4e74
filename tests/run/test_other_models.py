"""Runs of the other models: what they report, and which logits `predict` takes of them."""

import functools
import json

import pytest
from experiments import tiny_config, tiny_variants
from PIL import Image
from predicting import predicting

import aftrans_jax


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Working directory and result of another model's run, by the model's name."""
    folder = tmp_path_factory.mktemp("other")
    Image.new("RGB", (32, 32), (90, 120, 60)).save(folder / "photo.png")

    @functools.cache
    def run(name):
        config = tiny_config(model__name=name, train__steps=2, report__num_images=20)
        with tiny_variants():
            aftrans_jax.train(config, folder / name)
        return folder / name, json.loads((folder / name / "result.json").read_text())

    return run


@pytest.mark.parametrize("name", ["vit", "transfg"])
def test_models_of_one_branch_report_no_region(other, name):
    _, result = other(name)
    assert result["global_accuracy"] is not None
    assert [result[f"{name}_accuracy"] for name in ("local", "sum")] == [None, None]
    means = [result[f"{name}_mean_per_class_accuracy"] for name in ("global", "local", "sum")]
    assert [mean is None for mean in means] == [False, True, True]
    best = [result[f"{name}_top5_accuracy"] for name in ("global", "local", "sum")]
    assert [share is None for share in best] == [False, True, True]
    assert result["box_area_mean"] is None


@pytest.mark.parametrize("name", ["vit", "transfg"])
def test_models_of_one_branch_predict_from_global_logits_only(other, name, monkeypatch, capsys):
    workdir, _ = other(name)
    call, photo = predicting(workdir, monkeypatch, capsys), workdir.parent / "photo.png"
    rows, said = call(photo)
    assert rows
    assert said[0].startswith("global logits: ")
    assert call(photo, "--logits=sum", code=1) == (
        [],
        [
            f"error: --logits=sum: the run's model.name is {name!r}, which has global logits only; "
            "use --logits=global"
        ],
    )


def test_rams_has_both_branches_and_no_gates(other):
    workdir, result = other("rams")
    for name in ("global_accuracy", "local_accuracy", "sum_accuracy", "box_area_mean"):
        assert isinstance(result[name], float)
    page = (workdir / "report" / "index.html").read_text()
    assert 0 < page.count("<article") <= 20
    assert "what the local branch sees" in page
    assert "Gate of each layer" not in page


def test_rams_predicts_from_any_logits(other, monkeypatch, capsys):
    workdir, _ = other("rams")
    call = predicting(workdir, monkeypatch, capsys)
    for logits in ("global", "local", "sum"):
        rows, said = call(workdir.parent / "photo.png", f"--logits={logits}")
        assert rows
        assert logits in said[0]
