"""A run whose classes.json is lost, or whose photos are: what is restored, refused and advised."""

import json
import os
import shutil
from pathlib import Path

import pytest
from absl import logging
from experiments import edit, tiny_variants
from photo_runs import call, evaluate, plant, train

from aftrans_jax.inference.trained_model import load_trained
from aftrans_jax.json_files import DamagedRecordError
from aftrans_jax.workdir.class_names import run_classes

NAMES = ["gull", "owl", "tern"]
PATHS = [
    f"{split}/{name}/{number}.png"
    for split, count in (("train", 4), ("test", 2))
    for name in NAMES
    for number in range(count)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a finished run and its photos."""
    folder = tmp_path_factory.mktemp("made")
    train(folder / "run", plant(folder / "photos", *PATHS, first=0))
    return folder


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A copy of the run, with photos of its own."""
    shutil.copytree(made / "photos", tmp_path / "photos")
    workdir = shutil.copytree(made / "run", tmp_path / "run")
    edit(workdir, "data.dir", str(tmp_path / "photos"))
    return workdir


def lose(workdir: Path, content: bytes | None) -> None:
    """Damages classes.json, or removes it."""
    path = workdir / "classes.json"
    path.unlink() if content is None else path.write_bytes(content)


def rename(workdir: Path, old: str, new: str) -> None:
    for split in ("train", "test"):
        place = workdir.parent / "photos" / split
        (place / old).rename(place / new)


LOST = pytest.mark.parametrize("content", [None, b"{", b"[]"])


def test_a_renamed_class_is_named_and_no_file_is_to_be_deleted(run):
    rename(run, "gull", "zebra")
    before = (run / "classes.json").read_bytes()
    message = r"classes\.json: 'gull' not in the data; 'zebra' only in the data: expected those"
    with pytest.raises(SystemExit, match=message) as said:
        call(f"--workdir={run}", "--config.train.steps=3")
    assert "delete" not in said.value.code
    assert (run / "classes.json").read_bytes() == before


@LOST
@pytest.mark.parametrize("steps", [2, 3])
def test_lists_know_the_classes_where_their_file_is_lost(run, content, steps):
    """At 2 steps the run is finished."""
    rename(run, "gull", "zebra")
    lose(run, content)
    with pytest.raises(SystemExit, match=r"lists\.csv\.gz: 'gull' not in .*; 'zebra' only in"):
        call(f"--workdir={run}", f"--config.train.steps={steps}")
    assert (run / "classes.json").exists() == (content is not None)


def test_other_classes_are_refused_where_the_settings_are_damaged_too(made, run):
    rename(run, "gull", "zebra")
    (run / "config.json").write_bytes(b"{")
    (run / "result.json").unlink()
    given = [f"--config={made / 'run.py'}", f"--config.data.dir={run.parent / 'photos'}"]
    with pytest.raises(SystemExit, match=r"classes\.json: 'gull' not in the data"):
        call(*given, f"--workdir={run}", "--config.train.steps=3")


@LOST
@pytest.mark.parametrize("steps", [2, 3])
def test_lost_classes_are_written_anew_where_the_lists_agree(run, content, steps, capsys):
    lose(run, content)
    call(f"--workdir={run}", f"--config.train.steps={steps}")
    assert json.loads((run / "classes.json").read_text()) == NAMES
    assert "It is written anew" in capsys.readouterr().out


def test_classes_without_any_record_are_refused(run):
    lose(run, None)
    (run / "lists.csv.gz").unlink()
    with pytest.raises(SystemExit, match=r"is absent, and .*lists\.csv\.gz is absent or damaged"):
        call(f"--workdir={run}", "--config.train.steps=3")
    assert not (run / "classes.json").exists()


@LOST
def test_a_model_is_read_and_scored_with_the_classes_of_the_lists(run, content, capsys):
    lose(run, content)
    said = []
    with tiny_variants():
        assert load_trained(run, say=said.append).class_names == tuple(NAMES)
    assert len(said) == 1
    assert said[0].endswith(f"The classes are taken from {run / 'lists.csv.gz'}")
    own = json.loads((run / "result.json").read_text())
    assert evaluate(run)["test_loss"] == own["test_loss"]
    assert "The classes are taken from" in capsys.readouterr().out
    assert (run / "classes.json").exists() == (content is not None)


@pytest.mark.parametrize(("name", "lists"), [("cub", True), ("folder", False)])
@pytest.mark.parametrize("content", [None, b"{"])
def test_an_order_that_is_not_known_has_its_remedy(run, name, lists, content):
    lose(run, content)
    if not lists:
        (run / "lists.csv.gz").unlink()
    remedy = rf"Run python -m aftrans_jax\.main --workdir={run} once with its data, which writes"
    error = FileNotFoundError if content is None else DamagedRecordError
    with pytest.raises(error, match=remedy):
        run_classes(run, {"data.name": name}, logging.warning)


@pytest.mark.parametrize("arguments", [["--mode=eval"], ["--config.train.steps=3"], []])
def test_photos_that_were_moved_are_asked_for(run, arguments):
    photos = run.parent / "photos"
    photos.rename(run.parent / "moved")
    remedy = rf"data\.dir={photos} is not there: .* moved, give --config\.data\.dir=NEW"
    with pytest.raises(SystemExit, match=remedy):
        call(f"--workdir={run}", *arguments)


def test_a_mistyped_set_is_not_taken_for_moved_photos(run):
    with pytest.raises(SystemExit, match="none is not a folder: expected one with images"):
        evaluate(run, run.parent / "none")


def test_scores_need_a_directory_that_can_be_written(run, monkeypatch):
    """Permissions are faked, since root, who may run this, has all of them."""
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    message = "cannot be written: the scores are written there.*evaluate a copy of the run$"
    with pytest.raises(SystemExit, match=message):
        call("--mode=eval", f"--workdir={run}")
