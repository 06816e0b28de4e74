"""Splits of the user's own, names in any spelling, files left out, readers that crash."""

import importlib.util
import os
import unicodedata

import pytest
from PIL import Image

from aftrans_jax.config import base_config
from aftrans_jax.data.names import locate
from aftrans_jax.data.sets import mat_process
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.csv_list import read_csv, write_csv
from aftrans_jax.data.sets.files import find_files
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.data.sets.lists import shortened
from aftrans_jax.data.sets.matlab import read_entries
from aftrans_jax.experiment.data import load_dataset
from aftrans_jax.wording import printable, summary

NFC, NFD = "Gr\u00fcn", "Gru\u0308n"


def plant(root, *paths):
    for number, path in enumerate(paths):
        full = os.fsencode(root) + b"/" + os.fsencode(path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        Image.new("RGB", (8, 6), (number, 0, 0)).save(os.fsdecode(full), "PNG")
    return root


def load(root, **data):
    config = base_config()
    config.data.update({"name": "folder", "dir": str(root), **data})
    return load_dataset(config)


SPLITS = ("train", "val", "test")
THREE = [f"{split}/{name}/{n}.png" for split in SPLITS for name in "ab" for n in "xy"]


def test_a_validation_split_of_the_users_own_is_used_as_it_is(tmp_path):
    dataset, notes = load(plant(tmp_path, *THREE), validation_fraction=0.4)
    assert {name: sorted(of.names) for name, of in dataset.splits().items()} == {
        "train": THREE[:4],
        "validation": THREE[4:8],
        "test": THREE[8:],
    }
    (note,) = notes
    assert "validation_fraction=0.4 is not used: the set has a validation split" in note
    assert load(tmp_path)[1] == ()
    rows = [(path, path.split("/")[1], path.split("/")[0]) for path in THREE]
    write_csv(tmp_path / "list.csv", rows)
    listed = photo_dataset(read_csv(tmp_path / "list.csv"))
    assert {k: v.names for k, v in listed.splits().items()} == {
        k: v.names for k, v in dataset.splits().items()
    }


def test_without_a_test_split_val_is_the_test_split_and_that_is_said(tmp_path):
    dataset, notes = load(plant(tmp_path, *THREE[:8]))
    assert (dataset.validation, list(dataset.test.names)) == (None, THREE[4:8])
    assert notes == (f"{tmp_path} has no test split: val is the test split",)
    held_out, _ = load(tmp_path, validation_fraction=0.5)
    assert held_out.validation is not None
    assert list(held_out.test.names) == THREE[4:8]


@pytest.mark.parametrize("name", ["train", "Test", "val"])
def test_a_class_may_have_the_name_of_a_split(tmp_path, name):
    plant(tmp_path, *(f"{of}/{n}.png" for of in (name, "bus", "car") for n in "abc"))
    assert sorted(read_folder(tmp_path).class_names) == sorted([name, "bus", "car"])
    photos = (f"train/{of}/{n}.png" for of in "ab" for n in "ab")
    plant(tmp_path / "split", *photos, "extra/a/x.png")
    with pytest.raises(ValueError, match=r"outside the folders of classes.*extra"):
        read_folder(tmp_path / "split")


def test_both_unicode_forms_are_one_name(tmp_path):
    plant(tmp_path / "set", f"train/{NFC}/1.png", f"test/{NFD}/2.png", "train/b/3.png")
    dataset = photo_dataset(read_folder(tmp_path / "set"))
    assert dataset.class_names == (NFC, "b")
    assert dataset.test[0].label == 0
    plant(tmp_path, f"{NFD}/{NFC}.png", "b/1.png")
    rows = [(f"{NFC}/{NFD}.png", NFD, "train"), ("b/1.png", "b", "test"), ("b/2.png", "b", "train")]
    plant(tmp_path, "b/2.png")
    write_csv(tmp_path / "list.csv", rows)
    listed = photo_dataset(read_csv(tmp_path / "list.csv"))
    assert [example.image.shape for example in listed.train] == [(6, 8, 3)] * 2
    assert locate(tmp_path, f"{NFC}/{NFD}.png") == tmp_path / NFD / f"{NFC}.png"
    assert unicodedata.normalize("NFC", NFD) == NFC


@pytest.mark.parametrize("there", [(NFC,), (NFD,), (NFC, NFD), ()])
def test_one_photo_under_both_forms_is_listed_twice(tmp_path, there):
    """Where a disk has a file of either name, they are two photos."""
    plant(tmp_path, *(f"{name}.png" for name in there), "1.png", "2.png")
    splits = {f"{NFC}.png": "train", f"{NFD}.png": "test", "1.png": "train", "2.png": "train"}
    rows = ["path,label,split", *(f"{n},{'ab'[n == '2.png']},{s}" for n, s in splits.items())]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    if len(there) == 1:
        with pytest.raises(ValueError, match=f"1 image listed twice, the first: '{NFC}.png'"):
            read_csv(path)
    else:
        assert sum(map(len, read_csv(path).tables().values())) == 4


def test_names_that_are_not_utf_8_travel_through_folders_and_lists(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    paths = [f"{name}/{odd}{n}.png" for name in (odd, "b") for n in range(6)]
    dataset = photo_dataset(read_folder(plant(tmp_path, *paths)))
    assert odd in dataset.class_names
    assert {e.image.shape for e in dataset.train} == {(6, 8, 3)}
    rows = [(path, path.split("/")[0], "train") for path in paths[1:]]
    write_csv(tmp_path / "list.csv", [(paths[0], odd, "test"), *rows])
    listed = photo_dataset(read_csv(tmp_path / "list.csv"))
    assert sorted([*listed.train.names, *listed.test.names]) == sorted(paths)
    assert [e.image[0, 0, 0] for e in listed.test] == [0]


def test_names_do_not_command_terminals(tmp_path):
    assert printable("a\x1b]0;b\x07\u202ec\udce9 é鸟") == r"a\x1b]0;b\x07\u202ec\udce9 é鸟"
    plant(tmp_path, *(f"{of}/{n}.png" for of in ("a\x1b[2J", "b") for n in "xyz"), "notes\x1b.txt")
    (note,) = read_folder(tmp_path).notes
    assert note == r"files left out whose suffix is no photo's (1): notes\x1b.txt."


HELPERS = [
    *("@eaDir/x.png", "__MACOSX/a/x.png", ".ipynb_checkpoints/x.png", "$RECYCLE.BIN/x.png"),
    *("System Volume Information/x.png", "#recycle/x.png", "lost+found/x.png", "@Recycle/x.png"),
    *(".thumbnails/x.png", ".Trash-1000/x.png", "a/~$x.png", "a/._x.png", "a/Thumbs.db"),
    *("a/desktop.ini", ".DS_Store", "a/@eaDir/y.png/SYNOPHOTO_THUMB_M.png", "@appstore/x.png"),
    *("~snapshot/hourly.0/a/x.png", "_gsdata_/x.png", "files_trashbin/x.png", "FOUND.017/x.png"),
    *("_NAS_Recycle_Photos/x.png", "TheVolumeSettingsFolder/x.png", "found.000/x.png"),
]


def test_what_other_programs_leave_is_left_out_and_named(tmp_path):
    photos = [f"{name}/{n}.png" for name in "ab" for n in range(3)]
    plant(tmp_path, *photos, *HELPERS, "a/notes.txt", "LICENSE", "b/x.heic")
    found = find_files(tmp_path)
    heic = ["b/x.heic"] if importlib.util.find_spec("pillow_heif") else []
    assert list(found.photos) == sorted(photos + heic)
    assert {name.split("/")[0] for name in found.helpers} - {"a"} == {
        path.split("/")[0] for path in HELPERS
    } - {"a"}
    said = " ".join(load(tmp_path)[1])
    assert "whose suffix is no photo's (2): LICENSE, a/notes.txt." in said
    assert f"of other programs left out ({len(found.helpers)}): " in said


@pytest.mark.parametrize("split", ["", "train/", "test/"])
@pytest.mark.parametrize(
    "names",
    ["recycled landfill compost", "thumbs fist trashbox", "Recycler a", "found.it @a _nas ~b"],
)
def test_a_class_may_have_the_name_of_a_helper_that_is_a_word(tmp_path, names, split):
    splits = ("train/", "test/") if split else ("",)
    plant(
        tmp_path, *(f"{of}{name}/{n}.png" for of in splits for name in names.split() for n in "xy")
    )
    listed = read_folder(tmp_path)
    assert sorted(listed.class_names) == sorted(names.split())
    assert listed.notes == ()
    plant(tmp_path, f"{split}a/x.png", f"{split}a/Thumbs/x.png", f"{split}b/y.png")
    plant(tmp_path, f"{split}b/recycled/1/y.png", f"{split}b/@eaDir/x.png", "train/b/x.png")
    helpers = find_files(tmp_path).helpers
    assert helpers == tuple(f"{split}{name}" for name in ("a/Thumbs", "b/@eaDir", "b/recycled"))


def test_classes_without_a_test_image_are_named(tmp_path):
    plant(
        tmp_path / "drawn",
        *(f"{name}/1.png" for name in ["9", "10", "8", "7"]),
        "a/1.png",
        "a/2.png",
    )
    assert read_folder(tmp_path / "drawn").notes == (
        "classes without a test image (4): 7, 8, 9, ...",
    )
    rows = [("1.png", "a", "train"), ("2.png", "b", "train"), ("3.png", "a", "test")]
    write_csv(tmp_path / "list.csv", rows)
    assert read_csv(tmp_path / "list.csv").notes == ("classes without a test image (1): b.",)
    assert read_csv(tmp_path / "list.csv", evaluates=True).notes == ()


# ------------------------------------------------------------------------- .mat files, elsewhere


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("input(); import time; time.sleep(60)", "longer than 0.5 s"),
        ("input(); print('[1', end='')", "exit code 0"),
    ],
)
def test_a_reader_that_crashes_or_hangs_is_a_named_error(tmp_path, monkeypatch, program, said):
    mat_process._end()
    (tmp_path / "child.py").write_text(program)
    (tmp_path / "a.mat").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(mat_process.mat_child, "__file__", str(tmp_path / "child.py"))
        limit = 0.5 if "sleep" in program else 60.0
        answer = mat_process.read_columns(tmp_path / "a.mat", ["x"], None, time_limit_s=limit)
    assert said in answer
    expected = r"a\.mat cannot be read \(.*\): expected a complete MATLAB 5 file\. Fetch it"
    with pytest.raises(ValueError, match=expected):  # and a new process answers
        read_entries(tmp_path / "a.mat", ["x"], lambda x: (x, x), "", remedy="Fetch it.")


def test_names_and_rows_are_cut_where_they_are_too_many_or_too_long():
    assert summary("odd", ["a", "b", "c"], " Look.") == "odd (3): a, b, c. Look."
    assert summary("odd", ["a", "b", "c", "d"]) == "odd (4): a, b, c, ..."
    assert shortened("x" * 200) == "x" * 200
    assert shortened("x" * 201) == "x" * 200 + "..."
