"""`eval.mirror`: evaluation, predictions and pages agree, by the mean of two forward passes."""

import csv
import shutil
import sys
from functools import partial
from unittest import mock

import jax
import numpy as np
import pytest
from experiments import edit, tiny_variants
from jax import export
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from aftrans_jax import compare
from aftrans_jax.inference.batch_outputs import batch_outputs
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.explanation import explanations
from aftrans_jax.inference.programs import write_program
from aftrans_jax.inference.trained_model import load_trained
from aftrans_jax.run.launch import launch_evaluation
from aftrans_jax.training import sharding
from aftrans_jax.workdir import recorded_config
from aftrans_jax.workdir.predictions_csv import read_predictions


@pytest.fixture(scope="module")
def workdir(trained_run, tmp_path_factory):
    """The directory of a run with `eval.mirror`."""
    workdir = tmp_path_factory.mktemp("mirrored") / "run"
    shutil.copytree(trained_run, workdir)
    edit(workdir, "eval.mirror", True)
    return workdir


@pytest.fixture(scope="module")
def paths(photos):
    return [str(path) for path in sorted(photos.rglob("*.png"), key=lambda path: int(path.stem))]


@pytest.fixture(scope="module")
def predictions(workdir, paths):
    with tiny_variants():
        model = Classifier(load_trained(workdir), wanted=("box",))
    return model, model(paths)


def test_predictions_are_the_mean_of_two_looks(predictions, paths):
    model, found = predictions
    images = np.stack([np.asarray(Image.open(path)) for path in paths[:16]])
    apply = jax.jit(
        lambda images: model.module.apply({"params": model.params}, images, train=False)
    )
    own, mirrored = apply(images), apply(images[:, :, ::-1])
    logits = {name: (own.logits[name] + mirrored.logits[name]) / 2 for name in own.logits}
    logits["sum"] = logits["global"] + logits["local"]
    for name, mean in logits.items():
        probabilities = np.stack([one.probabilities[name] for one in found[:16]])
        np.testing.assert_allclose(probabilities, jax.nn.softmax(mean), atol=1e-5)
        once = jax.nn.softmax(own.logits[name]) if name != "sum" else probabilities + 1
        assert np.abs(probabilities - once).max() > 0.01
    np.testing.assert_array_equal([one.box for one in found[:16]], own.region.box)
    one_pass = jax.jit(partial(batch_outputs, model.module, "global", (), mirror=True))
    quick = one_pass(model.params, images)["probabilities"]["global"]
    np.testing.assert_allclose(quick, jax.nn.softmax(logits["global"]), atol=1e-5)


def test_an_exported_program_answers_as_predictions_do(workdir, predictions, paths, tmp_path):
    _, found = predictions
    path = tmp_path / "x.stablehlo"
    with tiny_variants():
        write_program(path, load_trained(workdir), "stablehlo", "sum", with_region=True)
    images = np.stack([np.asarray(Image.open(path)) for path in paths[:4]])
    given = export.deserialize(bytearray(path.read_bytes())).call(images)
    expected = [photo.probabilities["sum"] for photo in found[:4]]
    np.testing.assert_allclose(given["probabilities"], expected, atol=1e-5)
    np.testing.assert_array_equal(given["box"], [photo.box for photo in found[:4]])


@pytest.fixture(scope="module")
def result(workdir):
    """The scores with `eval.mirror`, as `--mode=eval` leaves them."""
    one = sharding.device_mesh(jax.devices()[:1])
    with tiny_variants(), mock.patch.object(sharding, "device_mesh", return_value=one):
        return launch_evaluation(recorded_config.get_config(str(workdir)), workdir, ())


def test_a_run_is_compared_with_one_that_looks_twice(
    trained_run, workdir, result, tmp_path, monkeypatch, capsys
):
    twice, out = tmp_path / "twice", tmp_path / "out"
    shutil.copytree(workdir, twice)  # as if it had been scored so at its end
    (twice / "eval-test.json").rename(twice / "result.json")
    (twice / "eval-test.predictions.csv").rename(twice / "predictions.csv")
    monkeypatch.setattr(sys, "argv", ["compare", str(trained_run), str(twice), f"--workdir={out}"])
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # which the command sets, too
    with tiny_variants():
        compare.main()
    one, two = csv.DictReader((out / "table.csv").read_text().splitlines())
    said = [
        read_predictions(run / "predictions.csv").correct("sum") for run in (trained_run, twice)
    ]
    accuracies = [100 * right.mean() for right in said]
    for row, accuracy in zip((one, two), accuracies, strict=True):
        assert (row["judged_by"], row["images"]) == ("sum", "60")
        assert float(row["test_sum_mean"]) == pytest.approx(accuracy, abs=1e-3)
    assert accuracies[1] == pytest.approx(100 * result["sum_accuracy"])
    assert float(two["difference"]) == pytest.approx(accuracies[1] - accuracies[0], abs=1e-3)
    assert float(two["gflop_an_image"]) == pytest.approx(2 * float(one["gflop_an_image"]))
    assert "| eval.mirror | False | True |" in capsys.readouterr().out
    page = (out / "table.html").read_text(encoding="utf-8")
    for better, worse in (said, said[::-1]):
        count = int((better & ~worse).sum())
        assert not count or f"({count} of 60)" in page
    assert (said[0] != said[1]).any()
    assert "cannot be read" not in page


def test_evaluation_and_pages_say_the_same(workdir, result, predictions, paths):
    model, found = predictions
    with tiny_variants():
        explained = list(explanations(load_trained(workdir), paths[:8]))
    said = read_predictions(workdir / "eval-test.predictions.csv")
    assert result["config"]["eval"]["mirror"] is True
    labels = [model.class_names.index(name) for name in said.true]
    for head in model.heads:
        confidence = [photo.answers[head][1] for photo in found]
        np.testing.assert_allclose(said.confidence[head], confidence, atol=1e-4)
        sure = np.array(confidence) > 0.1
        answered = np.array([photo.answers[head][0] for photo in found])
        np.testing.assert_array_equal(np.array(said.predicted[head])[sure], answered[sure])
        probabilities = np.stack([photo.probabilities[head] for photo in found])
        top5 = top_k_accuracy_score(
            labels, probabilities, k=5, labels=range(len(model.class_names))
        )
        assert result[f"{head}_top5_accuracy"] == pytest.approx(top5, abs=1e-7)
    for photo, page in zip(found, explained, strict=False):
        for answer in page.answers:
            assert answer.likeliest[0][1] == pytest.approx(photo.answers[answer.head][1], abs=1e-5)
