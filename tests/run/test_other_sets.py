"""`--mode=eval` on sets without training images or without splits, and on what was trained on."""

import json
import shutil
from pathlib import Path

import pytest
from experiments import edit
from photo_runs import call, evaluate, plant, train

from aftrans_jax.data.decoding.formats import photo_suffixes

FLAT = [f"{name}/{number}.png" for name in ("gull", "tern") for number in range(10)]


def listed(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return path


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    """A run on a set without splits, in the folder of its set."""
    folder = tmp_path_factory.mktemp("flat")
    return train(folder / "run", plant(folder / "photos", *FLAT, first=0))


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    paths = [f"train/{path}" for path in FLAT] + ["test/gull/a.png", "test/tern/b.png"]
    return train(folder / "run", plant(folder / "photos", *paths, first=0))


def test_a_run_among_its_photos_goes_on(tmp_path, monkeypatch):
    photos = plant(tmp_path / "photos", *FLAT, first=0)
    workdir = train(photos / "run", photos)
    call(f"--workdir={workdir}", "--config.train.steps=3")
    assert json.loads((workdir / "result.json").read_text())["config"]["train"]["steps"] == 3
    found = {path.suffix for path in workdir.rglob("*")}
    assert not found & photo_suffixes()
    monkeypatch.chdir(photos)
    with pytest.raises(SystemExit, match=r"the folder of the data, data\.dir=\.: expected another"):
        call(f"--config={workdir}.py", "--config.data.dir=.", f"--workdir={photos}")
    assert sorted(path.name for path in photos.iterdir()) == ["gull", "run", "run.py", "tern"]


@pytest.mark.parametrize("name", ["test", "val"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_set_with_a_test_split_alone_is_scored_on_it(flat, tmp_path, name, skip, capsys):
    data = plant(tmp_path / "new", f"{name}/tern/x.png", f"{name}/tern/y.png", f"{name}/gull/z.png")
    result = evaluate(flat, data, *(["--config.data.on_error=skip"] if skip else []))
    assert (result["num_test"], result["num_train"]) == (3, 0)
    said = "new has no test split: val is the test split" in capsys.readouterr().out
    assert said == (name == "val")


def test_annotated_boxes_are_not_cropped_where_there_are_none(flat, tmp_path):
    """The error comes before the checkpoint is read, so this one has no regions."""
    workdir = shutil.copytree(flat, tmp_path / "run")
    edit(workdir, "model.name", "aftrans")
    message = "region.method='annotated': 'folder' has no annotated boxes; leave it out"
    with pytest.raises(SystemExit, match=message):
        evaluate(workdir, None, "--config.region.method=annotated")
    assert not list(workdir.glob("eval-*annotated.json"))


def test_beside_a_test_split_val_is_not_scored(flat, tmp_path):
    data = plant(tmp_path / "new", "test/gull/x.png", "val/gull/y.png", "val/tern/z.png")
    assert evaluate(flat, data)["num_test"] == 1


def test_of_another_set_no_images_are_held_out(flat, tmp_path):
    """With one training image of each class, that would be an error."""
    workdir = shutil.copytree(flat, tmp_path / "run")
    edit(workdir, "data.validation_fraction", 0.3)
    data = plant(tmp_path / "new", "train/gull/x.png", "train/tern/y.png", "test/gull/z.png")
    assert evaluate(workdir, data)["num_test"] == 1


def test_a_training_split_alone_is_no_set_to_score(flat, tmp_path):
    data = plant(tmp_path / "new", "train/gull/x.png", "train/tern/y.png")
    with pytest.raises(SystemExit, match=r"the splits \['train'\]: expected one for testing"):
        evaluate(flat, data)


def test_a_list_of_test_images_alone_is_scored(flat, tmp_path):
    plant(tmp_path, "x.png", "y.png")
    rows = [("path", "label", "split"), ("x.png", "gull", "test"), ("y.png", "tern", "test")]
    data = listed(tmp_path / "new.csv", rows)
    assert evaluate(flat, data, "--config.data.name=csv")["num_test"] == 2


def test_another_set_without_splits_is_scored_whole_and_that_is_said(flat, tmp_path, capsys):
    """Its images have the paths of the trained ones, but not their content."""
    data = plant(tmp_path / "new", *FLAT)
    assert evaluate(flat, data)["num_test"] == len(FLAT)
    said = capsys.readouterr().out
    assert f"{data} has no splits: all of its images are for testing" in said
    assert "left out" not in said


def test_another_list_without_splits_is_scored_whole(flat, tmp_path, capsys):
    plant(tmp_path, "x.png", "y.png", "z.png")
    rows = [("path", "label"), ("x.png", "gull"), ("y.png", "tern"), ("z.png", "tern")]
    data = listed(tmp_path / "new.csv", rows)
    assert evaluate(flat, data, "--config.data.name=csv")["num_test"] == 3
    assert "new.csv has no splits: all of its images are for testing" in capsys.readouterr().out


def test_one_image_of_one_class_is_a_set_to_score(flat, tmp_path):
    assert evaluate(flat, plant(tmp_path / "new", "tern/x.png"))["num_test"] == 1


def test_the_trained_set_keeps_its_held_out_images_also_as_a_copy(flat, tmp_path, capsys):
    own = json.loads((flat / "result.json").read_text())
    assert 0 < own["num_test"] < len(FLAT)
    again = evaluate(flat)
    assert (again["num_test"], again["test_loss"]) == (own["num_test"], own["test_loss"])
    copy = shutil.copytree(flat.parent / "photos", tmp_path / "copy")
    capsys.readouterr()
    elsewhere = evaluate(flat, copy)
    assert (elsewhere["num_test"], elsewhere["test_loss"]) == (own["num_test"], own["test_loss"])
    used = len(FLAT) - own["num_test"]
    assert f"{used} of the 20 images to test were trained on" in capsys.readouterr().out
    assert (flat / "image_folder.txt").read_text() == f"{flat.parent / 'photos'}\n"
    # A list of the same images, and the set moved away, whose files cannot be compared any more.
    rows = [("path", "label"), *((path, path.split("/")[0]) for path in FLAT)]
    csv = listed(flat.parent / "photos" / "list.csv", rows)
    assert evaluate(flat, csv, "--config.data.name=csv")["num_test"] == own["num_test"]
    csv.unlink()
    photos = flat.parent / "photos"
    photos.rename(tmp_path / "moved")
    try:
        assert evaluate(flat, tmp_path / "moved")["num_test"] == own["num_test"]
    finally:
        (tmp_path / "moved").rename(photos)


def test_images_that_were_all_trained_on_are_refused(split, tmp_path):
    trained = ["train/gull/0.png", "train/tern/3.png"]
    rows = [("path", "label", "split"), *((path, path.split("/")[1], "test") for path in trained)]
    data = listed(split.parent / "photos" / "some.csv", rows)
    with pytest.raises(
        SystemExit, match=r"all 2 images to test .* were trained on, such as 'train"
    ):
        evaluate(split, data, "--config.data.name=csv")
    data.unlink()
    with pytest.raises(SystemExit, match=r"all 20 images to test .* were trained on"):
        evaluate(split, split.parent / "photos" / "train")


def test_the_own_set_is_scored_after_its_training_images_are_gone(split, tmp_path, capsys):
    own = json.loads((split / "result.json").read_text())
    photos = split.parent / "photos"
    (photos / "train").rename(tmp_path / "train")
    try:
        again = evaluate(split)
    finally:
        (tmp_path / "train").rename(photos / "train")
    assert (again["num_test"], again["test_loss"]) == (2, own["test_loss"])
    assert "20 images are removed since the run was started" in capsys.readouterr().out


def test_training_still_needs_training_images(tmp_path):
    data = plant(tmp_path / "new", "test/gull/x.png", "test/tern/y.png")
    with pytest.raises(SystemExit, match=r"the splits \['test'\]: expected one for training"):
        train(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()
