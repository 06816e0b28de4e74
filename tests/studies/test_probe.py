"""Linear probes of the tiny trunk, against scikit-learn on features computed by hand."""

import sys
import warnings
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from absl import flags
from absl.testing import flagsaver
from experiments import NUM_TEST, tiny_config, tiny_variants
from PIL import Image
from tiny import apply

from aftrans_jax import study
from aftrans_jax.data.sets.synthetic import synthetic_dataset
from aftrans_jax.experiment.data import image_sizes
from aftrans_jax.experiment.model import build_model, initial_params
from aftrans_jax.flags import parse_flags
from aftrans_jax.settings import configured, flat
from aftrans_jax.studies import features, probe_rows
from aftrans_jax.studies.definition import Row, Study
from aftrans_jax.studies.features import Features, SplitFeatures
from aftrans_jax.studies.plan import Run
from aftrans_jax.studies.probe import probe
from aftrans_jax.studies.probe_rows import probe_plan, run_probes
from aftrans_jax.workdir.predictions_csv import read_predictions
from aftrans_jax.workdir.record import read_result

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is an extra: aftrans-jax[study]")


def probed(**changes):
    with tiny_variants():
        return probe(tiny_config(**changes))


@pytest.fixture(scope="module")
def result():
    return probed()


def test_training_photos_are_read_as_test_photos_are(monkeypatch):
    read = []
    load = features.load_dataset
    monkeypatch.setattr(
        features, "load_dataset", lambda config: read.append(config) or load(config)
    )
    probed(data__resize_ratio=1.5, eval__resize_ratio=1.25)
    expected = {"image_size": 32, "resize_size": 40}
    assert image_sizes(read[0], trains=True) == image_sizes(read[0]) == expected


@pytest.mark.parametrize(
    ("key", "value", "counts"),
    [("eval.every", 7, False), ("train.steps", 7, False), ("eval.resize_ratio", 2.0, True)],
)
def test_a_probe_is_made_again_where_what_it_reads_has_changed(monkeypatch, key, value, counts):
    config = tiny_config()
    run = Run("a", 0, Path("nowhere"), config, ("global",))
    monkeypatch.setattr(probe_rows, "trained_settings", lambda _: flat(config.to_dict()))
    assert probe_rows._is_probed(run)
    other = configured(flat(config.to_dict()) | {key: value})
    assert probe_rows._is_probed(run._replace(config=other)) != counts


def by_hand(images):
    """Class tokens by branch, and gates, from the model as it starts, with a SACM of zeros."""
    config = tiny_config()
    with tiny_variants():
        model = build_model(config, 12, jnp.dtype("float32"))
        params, _ = initial_params(config, model)
    params["sacm"] = jax.tree.map(jnp.zeros_like, params["sacm"])
    output = apply(model, params, images, train=False)
    return jax.device_get(output.features), np.asarray(output.region.gate)


def decisions(train, labels, test):
    """The logits of a regression on features standardised by hand, without a pipeline."""
    from sklearn.linear_model import LogisticRegression

    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    regression = LogisticRegression(C=0.02, max_iter=10_000, tol=1e-8)
    regression.fit((train - mean) / deviation, labels)
    return regression.decision_function((test - mean) / deviation)


def test_logits_are_scikit_learns_on_features_by_hand(result):
    dataset = synthetic_dataset(num_train=24, num_test=NUM_TEST, image_size=32)
    images = [dataset.train[i].image for i in range(24)]
    images += [dataset.test[i].image for i in range(NUM_TEST)]
    features, gates = by_hand(np.stack(images))
    assert gates == pytest.approx(0.5)
    labels = np.array(dataset.train.labels)
    logits = {head: decisions(of[:24], labels, of[24:]) for head, of in features.items()}
    logits["sum"] = logits["global"] + logits["local"]
    truth = np.array(dataset.test.labels)
    assert result.outcomes["label"].tolist() == truth.tolist()
    assert result.outcomes["index"].tolist() == list(range(NUM_TEST))
    assert result.accuracies.keys() == {"global", "local", "sum"}
    for head, values in logits.items():
        probabilities = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        assert result.outcomes["confidence"][head] == pytest.approx(
            probabilities.max(axis=1), abs=1e-3
        )
        clear = np.diff(np.sort(values, axis=1)[:, -2:])[:, 0] > 1e-3
        named = result.outcomes["predicted"][head]
        assert clear.mean() > 0.7
        assert (named == values.argmax(axis=1))[clear].all()
        assert result.accuracies[head] == (named == truth).mean()
    assert result.num_train == 24
    assert 0 < result.area <= 1


def test_what_has_not_converged_is_no_result(monkeypatch):
    monkeypatch.setattr("aftrans_jax.studies.probe._MAX_ITERATIONS", 1)
    with pytest.raises(ValueError, match="global class tokens: lbfgs failed to converge"):
        probed()


def test_class_tokens_that_are_no_numbers_are_refused(monkeypatch):
    def damaged(config, model):
        params, notes = initial_params(config, model)
        params["vit"]["cls"] = params["vit"]["cls"] + np.nan
        return params, notes

    monkeypatch.setattr("aftrans_jax.studies.features.initial_params", damaged)
    with pytest.raises(ValueError, match=r"^class tokens of .* are not all finite: expected num"):
        probed(model__name="vit")


def test_other_warnings_of_scikit_learn_are_not_in_the_way(result, monkeypatch):
    """Its version 1.7.0 makes SciPy 1.17 warn of an option."""

    class Warns(sklearn.linear_model.LogisticRegression):
        def fit(self, *data):
            warnings.warn("an option is deprecated", DeprecationWarning, stacklevel=1)
            return super().fit(*data)

    monkeypatch.setattr("sklearn.linear_model.LogisticRegression", Warns)
    with pytest.warns(DeprecationWarning, match="an option is deprecated"):
        assert probed().accuracies == result.accuracies


def plant(folder: Path) -> Path:
    """Three photos of each of two classes to train and to test."""
    for split in ("train", "test"):
        for name, level in (("dark", 60), ("light", 190)):
            (place := folder / split / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (40, 40), (9, level, number)).save(place / f"{number}.bmp")
    return folder


def test_models_of_one_branch_have_global_logits_alone(result):
    plain = probed(model__name="vit")
    assert (plain.accuracies.keys(), plain.area) == ({"global"}, None)
    parts = probed(model__name="transfg")
    assert (parts.accuracies.keys(), parts.area) == ({"global"}, None)
    # The same trunk sees the same images.
    assert plain.outcomes["predicted"]["global"] == pytest.approx(
        result.outcomes["predicted"]["global"]
    )


def test_two_classes_and_an_image_that_cannot_be_read(tmp_path):
    for split, count in (("train", 4), ("test", 3)):
        for label, level in (("dark", 60), ("light", 190)):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 40), (level + number, level, 90)).save(
                    folder / f"{number}.png"
                )
    (tmp_path / "photos" / "test" / "dark" / "1.png").write_bytes(b"no image")
    changes = {"data__name": "folder", "data__dir": str(tmp_path / "photos")}
    with pytest.raises(ValueError, match=r"1\.png"):
        probed(**changes)
    found = probed(**changes, data__on_error="skip")
    names = [found.dataset.test.names[index] for index in found.outcomes["index"]]
    assert ["/".join(name.split("/")[-2:]) for name in names] == [
        *("dark/0.png", "dark/2.png"),
        *("light/0.png", "light/1.png", "light/2.png"),
    ]
    assert found.outcomes["label"].tolist() == [0, 0, 1, 1, 1]
    assert found.accuracies == {"global": 1, "local": 1, "sum": 1}
    assert all((values >= 0.5).all() for values in found.outcomes["confidence"].values())
    with pytest.raises(ValueError, match="'folder' has no annotated boxes"):
        probed(**changes, region__method="annotated")


def test_of_two_classes_the_confidence_is_scikit_learns(rng, monkeypatch):
    labels, places = np.arange(20, dtype=np.int32) % 2, np.arange(20, dtype=np.int32)
    tokens = (rng.normal(size=(2, 20, 5)) + labels[:, None]).astype(np.float32)
    boxes = np.zeros((20, 4), np.int32)
    train, test = (Features({"global": split}, labels, places, boxes) for split in tokens)
    dataset = synthetic_dataset(num_train=24, num_test=20, image_size=32)
    extracted = SplitFeatures(train, test, dataset, ())
    monkeypatch.setattr("aftrans_jax.studies.probe.frozen_features", lambda config: extracted)
    probabilities = scipy.special.expit(decisions(tokens[0], labels, tokens[1]))
    confidence = probe(tiny_config()).outcomes["confidence"]["global"]
    np.testing.assert_allclose(confidence, np.maximum(probabilities, 1 - probabilities), atol=1e-3)


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(RuntimeError, match="pip install scikit-learn"):
        probed()


def test_a_study_is_probed_row_by_row(tmp_path):
    rows = {
        "whole": Row({"model.name": "vit"}),
        "absent": Row({"pretrained": str(tmp_path / "absent.npz")}),
        "AFTrans": Row(),
    }
    tables, said = [], []

    def write_table(done):
        tables.append([run.row for run in done])
        if len(tables) == 1:
            raise TypeError("once")  # which ends no probe

    with tiny_variants():
        runs = probe_plan(Study("t", rows, "whole"), tiny_config(), tmp_path / "study", given=())
        failures = run_probes(runs, write_table=write_table, say=said.append)
    assert failures == ["absent"]
    assert "the table FAILED: TypeError: once" in said
    assert said.count("note: pretrained: random weights: pretrained is empty") == 1
    assert tables == [["whole"], ["whole", "AFTrans"]]
    assert [line.partition(": ")[0] for line in said if line.startswith("[")] == [
        *("[1/3] whole", "[2/3] absent FAILED", "[3/3] AFTrans")
    ]
    names = []
    for run, heads in zip(
        [runs[0], runs[2]], ({"global"}, {"global", "local", "sum"}), strict=True
    ):
        predictions = read_predictions(run.workdir / "predictions.csv")
        result = read_result(run.workdir)
        counts = [result[f"num_{name}"] for name in ("train", "test", "classes")]
        assert counts == [24, NUM_TEST, 12]
        assert (predictions.boxes is None) == (heads == {"global"})
        assert predictions.predicted.keys() == heads
        for head in heads:
            assert result[f"{head}_accuracy"] == predictions.correct(head).mean()
        names.append(predictions.names)
    assert names[0] == names[1]


STUDY = """
from ml_collections import ConfigDict
from aftrans_jax.studies.definition import Row, Study

get_config = lambda: ConfigDict({settings})
rows = {{
    "whole": Row({{"model.name": "vit"}}),
    "annotated": Row({{"region.method": "annotated"}}, ("sum",)),
}}
get_study = lambda: Study("The title", rows, "whole")
"""


def command(tmp_path, *arguments):
    path = tmp_path / "rows.py"
    path.write_text(STUDY.format(settings=tiny_config().to_dict()))
    given = ["study", f"--study={path}", "--probe", f"--workdir={tmp_path / 'out'}", *arguments]
    with flagsaver.flagsaver(), tiny_variants(), mock.patch.object(sys, "argv", given):
        flags.FLAGS.unparse_flags()
        study.main(parse_flags(study.with_base(given)))


def test_the_command_writes_the_table(tmp_path, capsys):
    command(tmp_path, "--config.data.num_test=12")
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    assert lines[0] == "# The title"
    assert [row[:2] for row in rows[2:]] == [["whole", "global"], ["annotated", "sum"]]
    assert {row[7] for row in rows[2:]} == {"12"}
    said = capsys.readouterr().out
    assert "[2/2] annotated: global" in said
    with pytest.raises(SystemExit, match="--probe takes no --seeds"):
        command(tmp_path, "--seeds=2")


def test_finished_rows_are_passed_over_unless_what_they_read_has_changed(tmp_path, monkeypatch):
    rows = {"whole": Row({"model.name": "vit"}), "AFTrans": Row()}
    said, probes, tables = [], [], []

    def counted(config):
        probes.append(config.model.name)
        return probe(config)

    def failures(photos, **changes):
        for happened in (said, probes, tables):
            happened.clear()
        base = tiny_config(data__name="folder", data__dir=str(photos), **changes)
        with tiny_variants():
            runs = probe_plan(Study("t", rows, "whole"), base, tmp_path / "study", given=())
            return run_probes(
                runs,
                write_table=lambda done: tables.append([run.row for run in done]),
                say=said.append,
            )

    monkeypatch.setattr(probe_rows, "probe", counted)
    photos, others = plant(tmp_path / "photos"), plant(tmp_path / "others")
    assert (failures(photos), probes) == ([], ["vit", "aftrans"])
    (tmp_path / "study" / "whole" / "probe" / "result.json").unlink()
    assert (failures(photos), probes) == ([], ["vit"])
    assert tables == [["whole"], ["whole", "AFTrans"]]
    assert said[-1].startswith("[2/2] AFTrans is finished: global ")
    assert (failures(photos, train__learning_rate=0.5), probes) == ([], [])  # trains nothing
    rows["AFTrans"] = Row({"sacm.keep_ratio": 0.5})
    assert (failures(photos), probes) == ([], ["aftrans"])
    del rows["AFTrans"]
    assert (failures(others), probes) == ([], ["vit"])


def test_without_annotated_boxes_the_row_is_left_out(tmp_path, capsys):
    plant(tmp_path / "photos")
    photos = ("--config.data.name=folder", f"--config.data.dir={tmp_path / 'photos'}")
    command(tmp_path, *photos)
    left_out, *_, last = capsys.readouterr().out.splitlines()
    assert left_out == "annotated is left out: 'folder' has no annotated boxes"
    assert last.startswith("[1/1] whole: global")
    assert "| whole | global |" in (tmp_path / "out" / "table.md").read_text()


def test_one_layers_attention_is_probed(result):
    one = probed(sacm__layers=(1,))
    assert np.array_equal(
        one.outcomes["predicted"]["global"], result.outcomes["predicted"]["global"]
    )
    assert not np.array_equal(one.outcomes["box"], result.outcomes["box"])
    assert one.outcomes["box"].shape == result.outcomes["box"].shape == (NUM_TEST, 4)


def test_the_crop_of_the_annotated_box_is_cut_there():
    """The built-in birds have boxes; their share of the image is the area of the crops."""
    found = probed(region__method="annotated", data__source_size=48)
    dataset = synthetic_dataset(num_train=24, num_test=NUM_TEST, image_size=48)
    boxes = np.stack([dataset.test[i].box for i in range(NUM_TEST)])
    sides = np.ceil(boxes[:, 2:]) - np.floor(boxes[:, :2])
    assert found.area == pytest.approx(sides.prod(axis=1).mean() / 48**2, rel=1e-5)
    assert found.outcomes["box"][:, 2:] == pytest.approx(np.ceil(boxes[:, 2:]))
