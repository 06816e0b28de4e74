"""A working directory belongs to one experiment: names, records, lists, the lock, evaluation."""

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from experiments import NUM_TEST, edit, fresh, tiny_config, train, with_settings
from PIL import Image
from places import ROOT

from aftrans_jax.config import base_config
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.experiment.classes import match_classes
from aftrans_jax.experiment.data import load_dataset
from aftrans_jax.json_files import DamagedRecordError, write_json
from aftrans_jax.key_groups import RESUMABLE, is_listed
from aftrans_jax.run import evaluation, results
from aftrans_jax.run.evaluation import (
    evaluate_run,
    evaluation_settings,
    free_name,
    set_name,
)
from aftrans_jax.run.launch import launch_training
from aftrans_jax.run.signals import StopRequest
from aftrans_jax.settings import configured, flat
from aftrans_jax.training.checkpoints import Checkpoints
from aftrans_jax.workdir.image_folders import check_moved
from aftrans_jax.workdir.image_lists import (
    ListEntry,
    check_lists,
    compare_lists,
    joined,
    list_notes,
    read_lists,
    record_lists,
    write_lists,
)
from aftrans_jax.workdir.lock import locked
from aftrans_jax.workdir.record import read_classes, read_result, read_settings, trained_settings
from aftrans_jax.workdir.recorded_config import get_config
from aftrans_jax.workdir.setting_changes import (
    changes,
    check_may_train,
    check_same_training,
    default_name,
    record_kept,
)

PLAIN_NESTED = base_config().to_dict()
PLAIN = flat(PLAIN_NESTED)


def changed(**values):
    """The base settings with some changed; keys are written `group__name`."""
    return PLAIN | {key.replace("__", "."): value for key, value in values.items()}


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "cub"),
        ({"seed": 1, "sacm__keep_ratio": 0.4}, "cub,seed=1,sacm.keep_ratio=0.4"),
        ({"sacm__keep_ratio": 0.4, "seed": 1}, "cub,seed=1,sacm.keep_ratio=0.4"),
        ({"train__report_every": 3, "eval__batch_size": 7, "data__num_threads": 1}, "cub"),
        (
            {"train__steps": 9, "train__precision": "float16"},
            "cub,train.precision=float16,train.steps=9",
        ),
        ({"train__steps": 0, "train__epochs": 9.0}, "cub,train.epochs=9.0"),  # 0: the other decides
        ({"eval__every": 7}, "cub,eval.every=7"),  # decides which checkpoints compete
        ({"data__dir": "/a/b/photos"}, "cub,data.dir=photos"),
        ({"pretrained": "/w/ViT B/16.npz"}, "cub,pretrained=16"),
        ({"data__mean": [0.1, 0.2, 0.3]}, "cub,data.mean=0.1,0.2,0.3"),
        ({"model__gelu": "a/b c\x1b[é"}, "cub,model.gelu=a_b_c___"),
        ({"pretrained": "sam/ViT-B_16"}, "cub,pretrained=sam_ViT-B_16"),
    ],
)
def test_the_directory_carries_what_was_changed(values, name):
    assert default_name("cub", PLAIN, changed(**values)) == name


def test_paths_that_differ_in_their_folder_alone_are_not_in_the_name():
    plain = changed(data__dir="data/CUB", pretrained="ViT-B_16.npz")
    moved = changed(data__dir="/mnt/CUB", pretrained="/w/ViT-B_16.npz")
    assert default_name("cub", plain, moved) == "cub"


def test_long_names_are_shortened_and_stay_apart():
    many = {key: 0.123 for key in PLAIN if isinstance(PLAIN[key], float)}
    one, other = PLAIN | many, PLAIN | many | {"loss.beta": 0.124}
    names = [default_name("cub", PLAIN, settings) for settings in (one, other)]
    assert names[0] != names[1]
    assert all(len(name) <= 80 for name in names)
    assert names[0] == default_name("cub", PLAIN, one)


# ------------------------------------------------------------------------------------------ records


def test_every_key_may_change_when_a_run_goes_on_or_defines_the_training():
    resumable = {key for key in PLAIN if is_listed(key, RESUMABLE)}
    groups = {key for key in PLAIN if key.startswith(("eval.", "report."))}
    # Speed, memory and looking, as docs/training.md says, and how long it trains.
    assert resumable - groups == {
        *("train.steps", "train.epochs", "train.report_every", "train.save_every"),
        *("train.precision", "train.sharding", "train.accumulation_steps"),
        *("model.attention", "model.remat", "data.dir", "data.num_threads", "data.cache"),
        *("train.profile", "data.on_error", "data.max_pixels"),
    }
    assert groups <= resumable
    defining = {
        "seed",
        "pretrained",
        "model.gelu",
        "loss.beta",
        "data.image_size",
        "train.momentum",
    }
    assert not resumable & defining
    assert all(any(key.startswith(entry) for key in PLAIN) for entry in RESUMABLE)


@pytest.mark.parametrize("key", ["seed", "model.gelu", "data.mean"])
def test_a_change_of_what_defines_the_training_is_refused(key, tmp_path):
    other = "other" if isinstance(PLAIN[key], str) else 17
    with pytest.raises(ValueError, match="holds a run that was trained with") as caught:
        check_same_training(tmp_path / "run", changes(PLAIN, PLAIN | {key: other}))
    assert f"{key} was {PLAIN[key]!r}, is now {other!r}" in str(caught.value)
    assert f"--workdir={tmp_path / 'run'},{key}={other}" in str(caught.value)


def test_every_changed_key_is_named_and_steps_may_change(tmp_path):
    check_same_training(tmp_path, changes(PLAIN, changed(train__steps=9, data__dir="/other")))
    new = changed(train__steps=9, seed=3, loss__beta=0.5, train__report_every=4)
    with pytest.raises(ValueError, match="holds a run") as caught:
        check_same_training(tmp_path, changes(PLAIN, new))
    assert "seed was 0, is now 3; loss.beta was 1.0, is now 0.5. Set" in str(caught.value)


def test_weights_are_compared_by_the_name_of_their_file():
    old = changed(pretrained="/a/x.npz")
    assert changes(old, changed(pretrained="b/x.npz")) == {}
    assert changes(old, changed(pretrained="")) == {"pretrained": ("/a/x.npz", "")}


def test_a_record_gives_the_configuration_back(tmp_path):
    config = tiny_config(data__mean=(0.1, 0.2, 0.3), pretrained="x.npz")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert get_config(str(tmp_path)).to_dict() == config.to_dict()


def test_a_record_without_a_newer_key_takes_its_default(tmp_path):
    settings = base_config().to_dict()
    del settings["sacm"]["keep_ratio"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert read_settings(tmp_path) == PLAIN


def test_what_was_trained_is_known_by_a_checkpoint_or_a_result(tmp_path):
    write_json(tmp_path / "config.json", PLAIN_NESTED | {"seed": 3})
    assert trained_settings(tmp_path) == {}
    result = {"step": 3, "config": PLAIN_NESTED}
    write_json(tmp_path / "result.json", result)
    assert trained_settings(tmp_path) == PLAIN | {"seed": 3}
    # Of what changed, a finished run takes where its data are and how long it is.
    found = {"train.epochs": (0.0, 2.5), "seed": (3, 4), "train.steps": (1, 2)}
    record_kept(tmp_path, found)
    kept = {"train.epochs": 2.5, "train.steps": 2}
    assert trained_settings(tmp_path) == PLAIN | {"seed": 3} | kept
    (tmp_path / "result.json").unlink()
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    assert trained_settings(tmp_path)["seed"] == 3


def test_a_record_with_an_unknown_key_names_it(tmp_path):
    settings = base_config().to_dict()
    settings["sacm"]["colour"] = 3
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"does not know: sacm\.colour\. Use the version"):
        read_settings(tmp_path)
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"does not know: sacm\.colour"):  # no reason to train on
        check_may_train(tmp_path, PLAIN)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b'{"train": 1}', b"null"])
def test_a_damaged_record_is_named_or_read_from_the_result(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(DamagedRecordError, match=str(path)):
        read_settings(tmp_path)
    result = {"step": 3, "config": base_config().to_dict()}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert read_settings(tmp_path) == PLAIN
    (tmp_path / "result.json").write_bytes(content)
    assert read_result(tmp_path) is None
    (tmp_path / "classes.json").write_bytes(content)
    with pytest.raises(DamagedRecordError, match=r"classes\.json"):
        read_classes(tmp_path)


def test_a_value_of_another_type_is_named():
    with pytest.raises(DamagedRecordError, match=r"train\.steps='many'"):
        configured(PLAIN | {"train.steps": "many"})


def test_an_absent_directory_says_what_is_expected(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"has no config\.json: expected the --workdir of a"
    ):
        get_config(str(tmp_path / "none"))


# --------------------------------------------------------------------------------------- evaluation


def test_a_file_is_no_directory_and_the_commands_that_take_it_are_named(tmp_path):
    (tmp_path / "aftrans.npz").write_bytes(b"PK")
    with pytest.raises(NotADirectoryError, match=r"aftrans\.npz is a file: .* predict, explain"):
        read_settings(tmp_path / "aftrans.npz")


def test_what_an_evaluation_takes_from_the_command_and_from_the_record():
    recorded = changed(seed=5, model__dropout=0.5, data__dir="/photos")
    given = changed(data__dir="/more", eval__batch_size=7, train__momentum=0.5, data__num_threads=1)
    keys = {"data.dir", "eval.batch_size", "train.momentum"}
    chosen, notes = evaluation_settings(recorded, given, keys)
    assert chosen == recorded | {"data.dir": "/more", "eval.batch_size": 7}
    assert set(notes) == {
        "note: data.dir was '/photos', is '/more' in this evaluation",
        "note: train.momentum=0.5 is ignored: the run was trained with 0.9",
        "note: eval.batch_size was 48, is 7 in this evaluation",
        "note: taken from the record of the run: seed, model.dropout",
    }


@pytest.mark.parametrize(
    "key", ["model.gelu", "sacm.keep_ratio", "region.method", "data.std", "data.split_seed"]
)
def test_what_would_change_the_evaluation_is_refused_when_given(key):
    with pytest.raises(ValueError, match=f"{key} was .* would change what is evaluated"):
        evaluation_settings(PLAIN, PLAIN | {key: "other"}, {key})


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "test"),
        ({"eval__batch_size": 3}, "test"),
        ({"data__dir": "/a/my photos/"}, "my_photos"),
        ({"data__dir": "/a/test"}, "cub-test"),
        ({"data__dir": "/a/test-annotated"}, "cub-test-annotated"),
        ({"data__name": "csv", "data__dir": "/a/b.csv"}, "b-csv"),
        ({"data__num_test": 7}, "7"),
        ({"data__supercategory": "Aves"}, "Aves"),
    ],
)
def test_the_name_of_a_set(values, name):
    assert set_name(PLAIN, changed(**values)) == name


def test_the_own_set_is_known_however_its_place_is_spelt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    for place in ("photos", "photos/", "./photos", str(tmp_path / "photos"), "link"):
        assert set_name(changed(data__dir="photos"), changed(data__dir=place)) == "test"
        assert set_name(changed(data__dir=place), changed(data__dir="photos")) == "test"
    assert set_name(changed(data__dir="photos"), changed(data__dir="photos/more")) == "more"
    other = changed(data__dir="./photos", data__num_test=7)
    assert set_name(changed(data__dir="photos"), other) == "7"


def scored(workdir, chosen, kind=""):
    """Writes scores of a set under the name that is free for it."""
    name = free_name(workdir, PLAIN, chosen)
    settings = {
        "train": {},
        "data": {key[5:]: x for key, x in chosen.items() if key[:5] == "data."},
    }
    path = workdir / f"eval-{name}{kind}.json"
    path.write_text(json.dumps({"step": 1, "config": settings}))
    return path.name


def test_scores_of_sets_of_one_name_are_all_kept(tmp_path, monkeypatch):
    one, two = (changed(data__dir=f"/a/site{number}/test") for number in (1, 2))
    assert scored(tmp_path, one) == "eval-cub-test.json"
    assert scored(tmp_path, two) == "eval-site2-test.json"
    assert scored(tmp_path, one) == "eval-cub-test.json"  # again: its own are replaced
    assert scored(tmp_path, two, "-annotated") == "eval-site2-test-annotated.json"
    assert scored(tmp_path, changed(data__dir="/b/site2/test")) == "eval-b-site2-test.json"
    monkeypatch.chdir("/")
    assert scored(tmp_path, changed(data__dir="a/site2/test/")) == "eval-site2-test.json"
    # Names that other keys, or characters that a file's name cannot have, would make the same.
    assert scored(tmp_path, changed(data__dir="/a/b-csv")) == "eval-b-csv.json"
    lists = changed(data__name="csv", data__dir="/a/b.csv")
    assert scored(tmp_path, lists) == "eval-a-b-csv.json"
    assert scored(tmp_path, changed(data__dir="/c/x y")) == "eval-x_y.json"
    assert scored(tmp_path, changed(data__dir="/c/x_y")) == "eval-c-x_y.json"
    # An evaluation by annotated boxes of a set, and a set that is called like that.
    assert scored(tmp_path, changed(data__dir="/a/z"), "-annotated") == "eval-z-annotated.json"
    assert scored(tmp_path, changed(data__dir="/a/z-annotated")) == "eval-a-z-annotated.json"
    assert scored(tmp_path, PLAIN) == scored(tmp_path, PLAIN) == "eval-test.json"


def test_where_every_name_is_taken_nothing_is_replaced(tmp_path):
    settings = {"train": {}, "data": {"dir": "/elsewhere"}}
    for name in ("test", "cub-test", "_-test"):
        (tmp_path / f"eval-{name}.json").write_text(json.dumps({"step": 1, "config": settings}))
    with pytest.raises(
        ValueError, match=r"eval-cub-test\.json has the scores of another set: .*Move"
    ):
        free_name(tmp_path, PLAIN, changed(data__dir="/test"))
    assert free_name(tmp_path, PLAIN, PLAIN) == "test"


class Drawn:
    """Three examples of two classes."""

    names, labels = ("a", "b", "c"), (0, 1, 1)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise AssertionError("no image is read")


def test_classes_are_matched_by_name():
    dataset = Dataset("own", Drawn(), Drawn(), ("tern", "Gr\u00fcn"))
    matched = match_classes(dataset, ["x", "Gru\u0308n", "tern"])
    assert matched.class_names == ("x", "Gru\u0308n", "tern")
    assert tuple(matched.test.labels) == (2, 1, 1)
    with pytest.raises(ValueError, match=r"1 of the 2 classes of own .* such as 'tern': expected"):
        match_classes(dataset, ["Gr\u00fcn", "gull"])


# -------------------------------------------------------------------------------------------- lists


LISTS = {
    "a/1.jpg": ListEntry("a", "train"),
    "a/2.jpg": ListEntry("a", "test"),
    'b/"3",\n.jpg': ListEntry("b", "validation"),
    os.fsdecode(b"b/\xff4.jpg"): ListEntry("b", "train"),
}


def test_lists_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "lists.csv.gz"
    assert read_lists(path) is None
    write_lists(path, LISTS)
    assert read_lists(path) == LISTS
    before = path.read_bytes()
    assert before[4:8] == bytes(4)  # RFC 1952, MTIME: the time is not in the file
    write_lists(path, dict(reversed(LISTS.items())))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"", b"x", gzip.compress(b"a,b\n"), gzip.compress(b"path,class,split\n1,2\n")],
    ids=["empty", "no gzip", "other columns", "a short row"],
)
def test_damaged_lists_are_named(tmp_path, content):
    path = tmp_path / "lists.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DamagedRecordError, match=str(path)):
        read_lists(path)


def test_truncated_lists_are_named(tmp_path):
    path = tmp_path / "lists.csv.gz"
    write_lists(path, LISTS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedRecordError, match=str(path)):
        read_lists(path)


def test_what_differs_is_counted_and_trained_images_are_not_tested(tmp_path):
    present = {name: listed for name, listed in LISTS.items() if name != "a/2.jpg"}
    present |= {"a/5.jpg": ListEntry("a", "test"), 'b/"3",\n.jpg': ListEntry("a", "train")}
    lines = check_lists(tmp_path, LISTS, present)
    assert [line.split(" since")[0] for line in lines] == [
        "note: 1 image is added",
        "note: 1 image is removed",
        "note: 1 image is in another split",
        "note: 1 image is of another class",
    ]
    leaking = LISTS | {"a/1.jpg": ListEntry("a", "test")}
    assert compare_lists(LISTS, leaking)[1] == ["a/1.jpg"]
    with pytest.raises(
        ValueError, match=r"1 images that were trained on, or chose .* be scored.*a/1\.jpg"
    ):
        check_lists(tmp_path, LISTS, leaking)
    with pytest.raises(ValueError, match=r"none of the 1 images, such as 'z.jpg', is one of"):
        check_lists(tmp_path, LISTS, {"z.jpg": ListEntry("a", "train")})
    # What was once used stays known when it is left out for a while.
    without = {name: listed for name, listed in LISTS.items() if name.startswith("a/2")}
    assert joined(LISTS, without) == LISTS
    assert joined(None, without) == without


def test_photos_that_may_only_have_been_renamed_are_told_of():
    recorded = {f"a/{n}.jpg": ListEntry("a", "train") for n in range(4)}
    recorded |= {"a/8.jpg": ListEntry("a", "test"), "a/9.jpg": ListEntry("a", "test")}
    kept = {name: recorded[name] for name in ("a/0.jpg", "a/1.jpg", "a/8.jpg")}
    tested = {"a/x.jpg": ListEntry("a", "test")}
    lines, leaked = compare_lists(recorded, kept | tested)
    assert lines[-1].startswith("note: 2 of the removed images were trained on, or chose")
    assert "and 1 of the added ones are tested" in lines[-1]
    assert leaked == []
    trained = {"a/x.jpg": ListEntry("a", "train")}
    without = {name: x for name, x in recorded.items() if name != "a/9.jpg"}  # a test photo is gone
    for present in (kept | trained, kept, without | tested):
        assert not any("under other names" in line for line in compare_lists(recorded, present)[0])


SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize("then", SPLITS)
@pytest.mark.parametrize("now", SPLITS)
def test_an_image_may_come_nearer_to_training_alone(then, now):
    recorded, present = ({"1.jpg": ListEntry("a", split)} for split in (then, now))
    lines, leaked = compare_lists(recorded, present)
    assert len(lines) == (then != now)
    assert leaked == (["1.jpg"] if SPLITS.index(then) < SPLITS.index(now) else [])


def test_a_path_in_another_form_of_unicode_is_the_same_image(tmp_path):
    recorded = {"b/Gr\u00fcn1.jpg": ListEntry("b", "train"), "b/2.jpg": ListEntry("b", "test")}
    moved = {"b/Gru\u0308n1.jpg": ListEntry("b", "train"), "b/2.jpg": ListEntry("b", "test")}
    leaking = {"b/Gru\u0308n1.jpg": ListEntry("b", "test"), "b/2.jpg": ListEntry("b", "train")}
    assert check_lists(tmp_path, recorded, moved) == []
    assert joined(recorded, moved) == recorded
    with pytest.raises(ValueError, match=r"1 images that were trained on, or chose"):
        check_lists(tmp_path, recorded, leaking)
    # Where a disk has a file of either name, they are two images.
    both = recorded | {"b/Gru\u0308n1.jpg": ListEntry("b", "test")}
    assert check_lists(tmp_path, recorded, both) == [
        "note: 1 image is added since the run was started, such as 'b/Gru\u0308n1.jpg'"
    ]
    assert joined(recorded, both) == both


def test_the_record_has_what_a_run_used_and_where_and_of_a_new_run_nothing_else(
    tmp_path, monkeypatch
):
    for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png"):
        (path := tmp_path / "photos" / name).parent.mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(path)
    monkeypatch.chdir(tmp_path)
    dataset, _ = load_dataset(tiny_config(data__name="folder", data__dir="photos"))
    earlier = {"train/a/0.png": ListEntry("a", "train"), "test/b/9.png": ListEntry("b", "test")}
    for is_resumed, kept in ((True, {"train/a/0.png"}), (False, set())):
        write_lists(tmp_path / "lists.csv.gz", earlier)
        record_lists(tmp_path, dataset, is_resumed=is_resumed)
        found = read_lists(tmp_path / "lists.csv.gz")
        present = {"train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png"}
        assert found.keys() == present | kept
        assert {name for name, x in found.items() if x.split == "test"} == {
            *("test/a/3.png", "test/b/4.png")
        }
        assert found["train/b/2.png"].class_name == "b"
    assert (tmp_path / "image_folder.txt").read_text() == f"{tmp_path / 'photos'}\n"
    (tmp_path / "lists.csv.gz").write_bytes(b"x")
    (note,) = list_notes(tmp_path, dataset)
    assert note.startswith(f"note: {tmp_path / 'lists.csv.gz'} is damaged (")
    assert note.endswith("Going on without them")


# --------------------------------------------------------------------------------------------- lock


HOLD = """
import pathlib, sys
from aftrans_jax.workdir.lock import locked

with locked(pathlib.Path(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_of_the_first_and_a_dead_one_does_not_block(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        expected = f"is in use: process {process.pid} on {socket.gethostname()} trains there"
        with pytest.raises(BlockingIOError, match=expected), locked(tmp_path):
            pass
        process.kill()
    (tmp_path / ".lock").write_text("longer than what is written next " * 9)
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


# --------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    return workdir, train(fresh(), workdir)


def contents(workdir):
    files = (path for path in workdir.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in files}


def test_another_seed_in_the_same_directory_is_refused_and_leaves_it_alone(finished):
    workdir, _ = finished
    before = contents(workdir)
    with pytest.raises(ValueError, match="seed was 0, is now 1"):
        train(with_settings(fresh(), seed=1), workdir)
    assert contents(workdir) == before


def test_a_missing_result_is_made_again_from_the_checkpoint(finished, capsys):
    workdir, result = finished
    (workdir / "result.json").unlink()
    again = train(fresh(), workdir)
    assert again["test_loss"] == result["test_loss"]
    assert json.loads((workdir / "result.json").read_text())["step"] == 6
    assert "images/s" not in capsys.readouterr().out  # nothing was trained


SMALL_FILES = (
    "config.json",
    "classes.json",
    "result.json",
    "metrics.jsonl",
    "checkpoints/scores.json",
)


@pytest.mark.parametrize("name", SMALL_FILES)
def test_a_damaged_small_file_stops_no_run(finished, tmp_path, name, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    (workdir / name).write_bytes(b'\xff{"')
    result = train(fresh(), workdir)
    assert result["test_loss"] == finished[1]["test_loss"]
    said = capsys.readouterr().out
    assert name.startswith(("result", "metrics")) or str(workdir / name) in said


def test_an_evaluation_by_other_logits_scores_the_checkpoint_that_the_run_reports(tmp_path):
    held_out = {"data__validation_fraction": 0.3}
    write_json(tmp_path / "config.json", tiny_config(**held_out).to_dict())
    experiment = fresh()
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_by="local_accuracy")
    for number, local, summed in ((1, 0.9, 0.1), (2, 0.1, 0.9)):
        checkpoints.save(number, experiment.state.replace(step=np.int32(number)))
        checkpoints.scores.note(number, {"local_accuracy": local, "sum_accuracy": summed})
    checkpoints.close()
    by_sum = with_settings(experiment, **held_out, eval__logits="sum")
    assert evaluate_run(by_sum, tmp_path, name="test")["step"] == 1


def test_a_new_run_takes_nothing_over_from_one_whose_checkpoints_are_gone(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "checkpoints").rename(tmp_path / "away")
    write_json(workdir / "skipped_images.json", {"train": ["old.jpg"]})
    (workdir / "tensorboard").mkdir()
    earlier = ("tensorboard/events", "eval-test.json", "eval-other.predictions.csv")
    for name in earlier:
        (workdir / name).touch()
    built = fresh()
    built = built._replace(skipped={"train": Skipped(built.dataset.train, 1)})
    result = train(built, workdir)
    assert result["skipped_images"] == {"train": []}
    assert not any((workdir / name).exists() for name in earlier)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [1, 2, 3, 4, 5, 6, 6]


def test_a_finished_run_whose_checkpoints_are_gone_is_left_alone(finished, tmp_path, capsys):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints")
    config = tiny_config(pretrained="gone.npz")  # nothing is read
    write_json(workdir / "config.json", config.to_dict())
    before = contents(workdir)
    with StopRequest() as stop:
        result = launch_training(config, workdir, stop)
    assert result == read_result(workdir)
    assert contents(workdir) == before
    said = capsys.readouterr().out
    assert f"its checkpoints are gone: nothing to train. To train it again, move {workdir}" in said
    assert f"its result: accuracy on {NUM_TEST} test images" in said


@pytest.mark.parametrize("steps", [4, 9])
def test_a_run_of_other_steps_whose_checkpoints_are_gone_is_refused(steps, finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints")
    before = contents(workdir)
    config = tiny_config(train__steps=steps)
    expected = f"train.steps=6, which cannot go on to train.steps={steps}: .* no checkpoint: bring"
    with StopRequest() as stop, pytest.raises(FileNotFoundError, match=expected):
        launch_training(config, workdir, stop)
    assert contents(workdir) == before


def test_a_full_disk_is_told_before_the_step_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    experiment = fresh()._replace(train_step=lambda *_: pytest.fail("compiled"))
    with pytest.raises(OSError, match=r"no checkpoint can be written .*: 0\.0 MB are free"):
        train(experiment, tmp_path / "run")


def test_it_runs_off_the_main_thread(tmp_path):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train(fresh(), tmp_path / "run")["step"])
    )
    thread.start()
    thread.join()
    assert results == [6]


def test_a_set_that_was_moved_is_gone_on_with_and_another_one_is_refused(tmp_path):
    """Photos of the same paths, in a copy and in another set."""
    for folder, content in (("then", b"a photo"), ("copy", b"a photo"), ("other", b"another")):
        for name in ("a/1.jpg", "b/2.jpg"):
            place = tmp_path / folder / "photos" / name
            place.parent.mkdir(parents=True)
            place.write_bytes(content)
    lists = {"a/1.jpg": ListEntry("a", "train"), "b/2.jpg": ListEntry("b", "test")}
    write_lists(tmp_path / "lists.csv.gz", lists)
    then, copy, other = (tmp_path / name / "photos" for name in ("then", "copy", "other"))
    for new in (then, copy):
        check_moved(tmp_path, then, new)
    with pytest.raises(ValueError, match=r"where 'a/1\.jpg' is another photo.*another --workdir"):
        check_moved(tmp_path, then, other)
    check_moved(tmp_path, tmp_path / "gone", other)  # nothing to compare with
    gone = tmp_path / "gone"
    with pytest.raises(ValueError, match=rf"was {then}, is now {gone}, which is not there: expec"):
        check_moved(tmp_path, then, gone)


def test_photos_of_equal_size_and_time_are_told_apart_by_what_they_hold(tmp_path):
    """Every other one of forty photos is compared; the last of these is another photo."""
    names = [f"a/{number:02d}.jpg" for number in range(40)]
    write_lists(tmp_path / "lists.csv.gz", {name: ListEntry("a", "train") for name in names})
    for folder in ("then", "copy", "other"):
        for name in names:
            (path := tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x" if (folder, name) == ("other", "a/38.jpg") else "a")
            os.utime(path, (1, 1))
    then, copy, other = (tmp_path / name for name in ("then", "copy", "other"))
    check_moved(tmp_path, then, copy)
    with pytest.raises(ValueError, match=r"where 'a/38\.jpg' is another photo"):
        check_moved(tmp_path, then, other)


def test_steps_since_the_last_report_are_reported_and_their_loss_judged(finished, tmp_path, capsys):
    experiment = with_settings(fresh(), train__report_every=4)
    train(experiment._replace(largest_loss=0.0), tmp_path / "run")
    said = r"note: the training diverged: its last loss is .*, expected at most 0, .* start again"
    assert re.search(said, capsys.readouterr().out)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [x["step"] for x in records if x["split"] == "train"] == [4, 6]
    for workdir, is_sound in ((tmp_path / "run", False), (finished[0], True)):
        scores = json.loads((workdir / "checkpoints" / "scores.json").read_text())
        assert scores["checkpoints"]["6"]["sound"] is is_sound


def test_a_mistyped_length_is_taken_back_and_no_trained_step_is_lost(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    edit(workdir, "train.steps", 600)  # and stopped before the first step
    assert train(fresh(), workdir) == read_result(workdir)
    assert read_settings(workdir)["train.steps"] == 6
    with pytest.raises(ValueError, match=r"6 trained steps, more than train\.steps=5: raise.*=5$"):
        train(with_settings(fresh(), train__steps=5), workdir)


@pytest.mark.parametrize("module", [results, evaluation])
def test_scores_are_there_only_where_predictions_are(finished, tmp_path, monkeypatch, module):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "result.json").unlink()

    def full(path, *_):
        raise OSError(f"{path}: no space is left")

    monkeypatch.setattr(module, "write_predictions", full)
    with pytest.raises(OSError, match=r"predictions\.csv: no space"):
        train(fresh(), workdir) if module is results else evaluate_run(fresh(), workdir, name="x")
    assert not {path.name for path in workdir.iterdir()} & {"result.json", "eval-x.json"}


def test_a_directory_is_locked_while_something_is_trained_there(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    (workdir / "result.json").unlink()
    experiment, tried = fresh(), []

    def evaluate(state, split):
        with pytest.raises(BlockingIOError, match="is in use"), locked(workdir):
            pass
        tried.append(True)
        return experiment.evaluator.evaluate(state, split)

    evaluator = SimpleNamespace(evaluate=evaluate, relevance=experiment.evaluator.relevance)
    train(experiment._replace(evaluator=evaluator), workdir)
    assert tried == [True]
    with locked(workdir):
        pass


def test_what_a_finished_run_does_not_take_is_said(finished, tmp_path, capsys):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = read_settings(workdir)
    other = with_settings(fresh(), eval__mirror=True, report__num_images=3)
    assert train(other, workdir) == read_result(workdir)
    said = capsys.readouterr().out
    assert "not applied, since the run is finished: eval.mirror=True, report.num_images=3" in said
    assert f"--mode=eval --workdir={workdir} --config.eval.mirror=True\n" in said
    assert "is now" not in said
    assert read_settings(workdir) == before


def test_where_the_data_of_a_finished_run_were_moved_is_recorded(finished, tmp_path):
    workdir = shutil.copytree(finished[0], tmp_path / "run")
    before = read_settings(workdir)
    assert train(with_settings(fresh(), data__dir="moved"), workdir) == read_result(workdir)
    assert read_settings(workdir) == before | {"data.dir": "moved"}


def test_a_success_takes_the_error_of_an_earlier_failure_away(finished):
    workdir, _ = finished
    (workdir / "error.log").write_text("Traceback")
    train(fresh(), workdir)
    assert not (workdir / "error.log").exists()
