"""Errors before anything is read or written, and a run's lines about itself."""

import os

import jax
import numpy as np
import pytest
from experiments import tiny_config, tiny_experiment
from PIL import Image

from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.json_files import write_json
from aftrans_jax.run import results, sessions, training
from aftrans_jax.run.launch import launch_training
from aftrans_jax.run.results import summary
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.settings import flat
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.training.evaluation import Evaluation
from aftrans_jax.training.reporting import Progress
from aftrans_jax.workdir.image_lists import record_lists
from aftrans_jax.workdir.lock import locked


def launched(workdir, **changes):
    with StopRequest() as stop:
        return launch_training(tiny_config(**changes), workdir, stop)


def test_another_run_is_refused_before_its_data_are_read(tmp_path):
    gone = {"data__name": "folder", "data__dir": str(tmp_path / "gone")}
    workdir = tmp_path / "run"
    workdir.mkdir()
    config = tiny_config(**gone).to_dict()
    write_json(workdir / "config.json", config)
    write_json(workdir / "result.json", {"step": 6, "config": config})
    with pytest.raises(ValueError, match=r"seed was 0, is now 1\. Set them back"):
        launched(workdir, **gone, seed=1)


def test_what_differs_from_the_default_is_told_with_it():
    changes = {"model__name": "vit", "model__gelu": "exact", "pretrained": "", "model__stride": 8}
    found = results._changed(flat(tiny_config(**changes).to_dict()))
    told = {key: pair for key, *pair in found}
    assert told["model.name"] == ["aftrans", "vit"]
    assert told["model.gelu"] == ["auto", "exact"]
    assert told["model.stride"] == ["0", "8"]  # it takes no "auto"
    assert told["data.mean"] == ["()", "(0.5, 0.5, 0.5)"]
    assert told["data.name"][1] == "synthetic"
    assert "sacm.keep_ratio" not in told


def test_a_directory_that_is_in_use_is_refused_before_the_data_are_read(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"):
        launched(tmp_path, data__name="folder", data__dir=str(tmp_path / "gone"))


def test_what_a_user_is_told_before_the_first_step(tmp_path):
    experiment = tiny_experiment(model__name="vit", train__trainable="head")
    state = jax.device_put(experiment.state)
    total, trained = (
        sum(np.size(leaf) for leaf in jax.tree.leaves(tree))
        for tree in (state.merged(state.params), state.params)
    )
    assert trained == 13 * 12  # weights and biases of 12 classes
    first, second, *more = training._description(experiment, state, tmp_path, True, ["a note"])
    assert first == "synthetic: 24 training and 20 test images, 12 classes"
    assert second == f"vit: {total:,} parameters (156 of them train), float32, on 4 x cpu"
    assert more[-2:] == [f"resuming {tmp_path} after batch 0, step 0", "a note"]
    assert training._description(experiment, state, tmp_path, False, ["a note"])[-1] != "a note"


def test_facts_of_the_report_have_their_names():
    names = {
        "num_train": "training images",
        "num_test": "test images",
        "step": "steps",
        "stopped_at_step": "stopped early at step",
        "seconds": "time since the last start",
        "images_per_second": "training images per second",
        "box_area_mean": "mean area of the box",
        "box_iou_mean": "IoU with the annotated boxes",
        "centred_box_iou_mean": "IoU of centred boxes as large",
        "box_contains_mean": "share of annotated boxes inside",
    }
    result = {key: number for number, key in enumerate(names)}
    clean = {"skipped_steps": 0, "skipped_images": {"train": []}}
    found = results._facts(result | clean)
    assert {name: found[name] for name in names.values()} == {
        name: result[key] for key, name in names.items()
    }
    assert not {"steps skipped by float16", "images that could not be read"} & found.keys()
    faults = {"skipped_steps": 3, "skipped_images": {"train": ["a"], "test": ["b", "c"]}}
    found = results._facts(result | faults)
    assert found["steps skipped by float16"] == found["images that could not be read"] == 3


def test_an_image_that_one_process_could_not_read_is_named(monkeypatch):
    experiment = tiny_experiment(model__name="vit")
    skipped = Skipped(experiment.dataset.test)
    skipped.note(4, ValueError("damaged"))
    other = np.zeros_like(skipped.flags)
    other[7] = True
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.process_allgather", lambda own: np.stack([own, other])
    )
    found = results.skipped_images(experiment._replace(skipped={"test": skipped}))
    names = experiment.dataset.test.names
    assert found == {"test": [names[4], names[7]]}


def test_gates_are_means_over_the_images():
    experiment = tiny_experiment(model__name="vit")
    gates = np.array([[0.1, 0.0], [0.2, 0.0], [0.9, 0.0]], np.float32)
    said = {"label": np.arange(3), "predicted": {"global": np.arange(3)}}
    evaluation = Evaluation({"loss": 1.0}, 3, {**said, "gate": gates})
    found = summary(experiment, experiment.state, evaluation)
    assert found["gate_mean"] == pytest.approx([0.4, 0])
    plain = summary(experiment, experiment.state, Evaluation({"loss": 1.0}, 3, said))
    assert (plain["gate_mean"], plain["test_loss"], plain["num_train"]) == (None, 1, 24)


def session(workdir, **changes):
    experiment = tiny_experiment(1, model__name="vit", **changes)
    with StopRequest() as stop:
        return sessions.Session(experiment, workdir, Progress(6), stop)


def test_scores_of_other_views_are_noted_as_such(tmp_path, monkeypatch):
    made = []

    def checkpoints(*given, protocol, **more):
        made.append(protocol)
        return Checkpoints(*given, protocol=protocol, **more)

    monkeypatch.setattr(sessions, "Checkpoints", checkpoints)
    for changes in ({}, {"eval__mirror": True}, {"eval__resize_ratio": 1.5}):
        with session(tmp_path, **changes):
            pass
    assert made == ["", "eval.mirror=True", "eval.resize_ratio=1.5"]


def test_scores_after_the_checkpoint_that_a_run_goes_on_from_are_forgotten(tmp_path):
    with session(tmp_path) as first:
        state = first._experiment.state
        for number in (1, 2):
            first._checkpoints.save(number, state.replace(step=np.int32(number)))
            first._checkpoints.scores.note(number, {"global_accuracy": 0.5})
    (tmp_path / "checkpoints" / "2").rename(tmp_path / "away")
    (cut_off := tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp-7").mkdir()
    with session(tmp_path) as again:
        state, is_resumed = again.start()
        assert (int(state.step), is_resumed) == (1, True)
        assert not cut_off.exists()
        assert again._checkpoints.scores.of(1) == {"global_accuracy": 0.5}
        assert again._checkpoints.scores.of(2) is None


def test_a_state_is_saved_once_whatever_the_disk_shows(tmp_path, monkeypatch):
    """Of several hosts that share a disk, some may see a checkpoint later than others."""
    with session(tmp_path) as own:
        state, _ = own.start()
        state = state.replace(step=state.step + 1)
        own._save(state)
        own._checkpoints.scores.note(1, {"global_accuracy": 0.5})
        monkeypatch.setattr(own._checkpoints, "numbers", list)
        own._save(state)
        assert own._checkpoints.scores.of(1) == {"global_accuracy": 0.5}


def test_other_photos_in_the_place_of_those_of_a_run_are_refused(tmp_path):
    def planted(folder, level):
        for name in ("train/a", "train/b", "test/a", "test/b"):
            (place := tmp_path / folder / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (level,) * 3).save(place / "x.png")
        changes = {"data__name": "folder", "data__dir": str(tmp_path / folder)}
        return tiny_experiment(model__name="vit", **changes)

    then, copy, other = (planted(x, n) for x, n in (("then", 9), ("copy", 9), ("other", 200)))
    workdir = tmp_path / "run"
    workdir.mkdir()
    write_json(workdir / "config.json", then.config.to_dict())
    write_json(workdir / "classes.json", then.dataset.class_names)
    write_json(workdir / "result.json", {"step": 6, "config": then.config.to_dict()})
    record_lists(workdir, then.dataset, is_resumed=False)
    assert training._check_record(copy, workdir) == []
    with pytest.raises(ValueError, match=r"x\.png' is another photo"):
        training._check_record(other, workdir)
