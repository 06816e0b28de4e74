"""Images that a training used are known by their content, wherever an evaluation finds them."""

import os
import unicodedata
from pathlib import Path

import pytest

from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from aftrans_jax.experiment.classes import leave_out_used
from aftrans_jax.workdir.image_folders import used_images
from aftrans_jax.workdir.image_lists import ListEntry, write_lists

DECOMPOSED = "Gru\u0308n/1.jpg"
COMPOSED = unicodedata.normalize("NFC", DECOMPOSED)
SPLITS = {
    "train/gull/1.jpg": "train",
    "train/tern/2.jpg": "train",
    "val/gull/3.jpg": "validation",
    f"train/{COMPOSED}": "train",
    "test/gull/4.jpg": "test",
}


def plant(root: Path, **content: str) -> Path:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def trained(tmp_path):
    """The directory of a run, and its photos; each file holds its own path."""
    (tmp_path / "run").mkdir()
    write_lists(tmp_path / "run/lists.csv.gz", {n: ListEntry("a", s) for n, s in SPLITS.items()})
    return tmp_path / "run", plant(tmp_path / "photos", **{name: name for name in SPLITS})


def scored(run: Path, data_dir: Path, root: Path, *names: str) -> tuple[list[str], list[str]]:
    used, notes = used_images(run, data_dir)
    assert notes == []
    table = PhotoTable(root, names, (0,) * len(names))
    kept, notes = leave_out_used(PhotoSource(table), table, used)
    return list(kept.names), notes


def test_the_files_of_a_set_are_where_the_disk_has_them(trained):
    run, photos = trained
    assert used_images(run, photos)[0] == {
        name: photos / name for name, split in SPLITS.items() if split != "test"
    }
    (photos / "train" / COMPOSED).parent.rename(photos / "train" / "Gru\u0308n")
    assert used_images(run, photos)[0][f"train/{COMPOSED}"] == photos / "train" / DECOMPOSED


@pytest.mark.parametrize("folder", ["", "images", "Images", "CUB_200_2011/images"])
def test_photos_may_lie_in_a_folder_of_their_own(trained, tmp_path, folder):
    run, photos = trained
    (tmp_path / "set" / folder).parent.mkdir(parents=True, exist_ok=True)
    photos.rename(tmp_path / "set" / folder)
    assert used_images(run, tmp_path / "set")[0]["val/gull/3.jpg"] == (
        tmp_path / "set" / folder / "val/gull/3.jpg"
    )


def test_the_folder_of_a_list_is_that_of_its_file(trained):
    run, photos = trained
    (photos / "list.csv").touch()
    assert used_images(run, photos / "list.csv")[0]["val/gull/3.jpg"] == photos / "val/gull/3.jpg"


def test_a_part_of_the_trained_set_is_not_scored_under_other_paths(trained):
    run, photos = trained
    plant(photos, **{"val/gull/5.jpg": "a new photo"})
    kept, (note,) = scored(run, photos, photos / "val", "gull/3.jpg", "gull/5.jpg")
    assert kept == ["gull/5.jpg"]
    assert note == (
        "1 of the 2 images to test were trained on, such as 'gull/3.jpg': they are left out, 1 are "
        "scored"
    )
    with pytest.raises(ValueError, match=r"all 2 images to test in .*train were trained on"):
        scored(run, photos, photos / "train", "gull/1.jpg", "tern/2.jpg")


def test_a_list_one_folder_up_and_copies_under_other_names_are_known(trained, tmp_path):
    run, photos = trained
    plant(tmp_path, **{"copies/x.jpg": f"train/{COMPOSED}", "copies/y.jpg": "a new photo"})
    names = ("photos/train/tern/2.jpg", "copies/x.jpg", "copies/y.jpg", "photos/test/gull/4.jpg")
    kept, _ = scored(run, photos, tmp_path, *names)
    assert kept == ["copies/y.jpg", "photos/test/gull/4.jpg"]


def test_the_same_path_or_length_is_not_the_same_photo(trained, tmp_path):
    run, photos = trained
    other = {name: name[::-1] for name in SPLITS}
    kept, notes = scored(run, photos, plant(tmp_path / "other", **other), *other)
    assert (kept, notes) == (list(other), [])


@pytest.mark.parametrize("data_dir", ["photos", "renamed.csv", "photos/gone.csv"])
def test_the_recorded_folder_is_looked_in_first(trained, tmp_path, monkeypatch, data_dir):
    """`data.dir` may be relative to where the training was started, and a list may move."""
    run, photos = trained
    (run / "image_folder.txt").write_text(f"{photos}\n")
    monkeypatch.chdir(run)
    plant(tmp_path, **{"copies/x.jpg": "val/gull/3.jpg", "copies/y.jpg": "a new photo"})
    assert scored(run, Path(data_dir), tmp_path / "copies", "x.jpg", "y.jpg") == (
        ["y.jpg"],
        [
            "1 of the 2 images to test were trained on, such as 'x.jpg': they are left out, 1 are "
            "scored"
        ],
    )


def test_one_photo_that_is_gone_does_not_hide_the_others(trained, tmp_path):
    run, photos = trained
    (photos / next(iter(SPLITS))).unlink()
    (photos / "renamed.csv").touch()
    (tmp_path / "CUB").mkdir()
    photos = photos.rename(tmp_path / "CUB/images")
    for data_dir in (tmp_path / "CUB", photos / "list.csv"):
        assert used_images(run, data_dir)[0]["val/gull/3.jpg"] == photos / "val/gull/3.jpg"


def test_files_that_are_gone_count_by_path_in_either_form_of_unicode(trained, tmp_path):
    run, photos = trained
    there = {f"train/{DECOMPOSED}": "any", "train/tern/2.jpg": "any", "test/gull/4.jpg": "any"}
    plant(tmp_path / "other", **there)
    for name in (f"train/{COMPOSED}", "val/gull/3.jpg"):
        (photos / name).unlink()
    assert scored(run, photos, tmp_path / "other", *there)[0] == list(there)[1:]
    photos.rename(tmp_path / "moved")
    kept, notes = scored(run, photos, tmp_path / "other", *there)
    assert kept == ["test/gull/4.jpg"]
    assert notes[0] == (
        "4 of the 4 images that the training used cannot be read any more, such as "
        f"{min(name for name in SPLITS if not name.startswith('test'))!r}: they are known by path "
        "alone, so copies of them under other paths are scored"
    )


def test_few_files_are_read(trained, tmp_path, monkeypatch):
    """Those of a length that is in both sets."""
    run, photos = trained
    there = {"1.jpg": "x" * len("train/gull/1.jpg"), "2.jpg": "x", "3.jpg": ""}
    plant(tmp_path / "other", **there)
    (photos / "val/gull/3.jpg").write_text("")  # has no content to compare
    table, used = (
        PhotoTable(tmp_path / "other", tuple(there), (0,) * 3),
        used_images(run, photos),
    )
    read, opened = [], Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: read.append(path) or opened(path, mode))
    kept, _ = leave_out_used(PhotoSource(table), table, used[0])
    assert kept.names == tuple(there)
    wanted = {photos / "train/gull/1.jpg", photos / "train/tern/2.jpg", tmp_path / "other/1.jpg"}
    assert set(read) == wanted


def test_a_photo_that_cannot_be_read_is_scored_or_refused_later(trained, tmp_path):
    run, photos = trained
    os.symlink("nowhere", tmp_path / "broken.jpg")
    assert scored(run, photos, tmp_path, "broken.jpg")[0] == ["broken.jpg"]
