"""Findings on wrong lists, on three splits, and on samples whose depth is guessed."""

import io
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from aftrans_jax.check_data import write_clean
from aftrans_jax.data.doctor import class_names
from aftrans_jax.data.doctor.class_names import near_names
from aftrans_jax.data.doctor.examine import UNKNOWN, ListedImage, clean, examine
from aftrans_jax.data.doctor.findings import problems, report
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.sets.annotations import NO_BOX, Record, annotations, photo_dataset
from aftrans_jax.data.sets.csv_list import read_csv, write_csv
from aftrans_jax.data.sets.files import find_files
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.data.sets.tfds_source import TfdsSource


def plant(root, **shown):
    """Writes a picture for each "split/class/number": a seed, or samples of any kind."""
    for path, picture in shown.items():
        file = root / f"{path}.{'png' if isinstance(picture, int) else 'tif'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(picture, int):
            picture = np.random.default_rng(picture).integers(0, 256, (12, 10, 3), np.uint8)
        Image.fromarray(picture).save(file)
    return root


def diagnose(listed):
    return examine(listed, tiny_px=4, num_threads=2)


def three(root, **others):
    sound = {
        f"{split}/{name}/{n}": 100 * i + 10 * j + n
        for i, split in enumerate(("train", "val", "test"))
        for j, name in enumerate(("Crow", "Gull"))
        for n in range(2)
    }
    return diagnose(read_folder(plant(root, **(sound | others))))


def test_three_splits_that_are_sound(tmp_path):
    diagnosis = three(tmp_path)
    assert problems(diagnosis) == []
    assert report(diagnosis)[3:6] == [
        "                             train   validation    test",
        "  official                       -            -       -",
        "  listed                         4            4       4",
    ]
    assert clean(diagnosis) == diagnosis.listed


def test_a_picture_in_two_of_three_splits_is_a_problem_and_stays_in_one(tmp_path):
    root = tmp_path / "photos"
    diagnosis = three(
        root, **{"val/Crow/7": 0, "test/Gull/7": 111, "train/Gull/8": 201, "val/Gull/8": 201}
    )
    assert [said.partition(" (")[0] for said in problems(diagnosis)] == [
        "pictures both in train and in validation",
        "pictures both in train and in test",
        "pictures both in validation and in test",
    ]
    said = write_clean(tmp_path / "clean.csv", diagnosis)
    assert f"{tmp_path / 'clean.csv'}: 3 training, 4 validation and 5 test images" in said
    again = diagnose(read_csv(tmp_path / "clean.csv"))
    assert problems(again) == []
    assert again.splits == ("train", "validation", "test")
    places = {image.name.removeprefix("photos/") for image in again.listed}
    assert {"test/Gull/7.png", "val/Crow/7.png"} <= places
    assert not {"train/Crow/0.png", "val/Gull/1.png", "train/Gull/8.png", "val/Gull/8.png"} & places


def test_only_folders_that_are_listed_are_looked_through(tmp_path, monkeypatch):
    """A list may lie in a home folder."""
    paths = ("Gr\u00fcn/1", "Gr\u00fcn/deep/2", "b/3", "b/4", "b/5", "elsewhere/deep/6")
    plant(tmp_path, **{path: number for number, path in enumerate(paths)})
    plant(tmp_path, **{"7": 7})
    rows = {"Gru\u0308n/1": "train", "b/3": "train", "b/4": "test"}
    write_csv(tmp_path / "list.csv", [(f"{n}.png", n.split("/")[0], s) for n, s in rows.items()])
    opened, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(Path(path)) or scandir(path))
    diagnosis = diagnose(read_csv(tmp_path / "list.csv"))
    assert diagnosis.surplus == ("7.png", "Gr\u00fcn/deep/2.png", "b/5.png")
    folders = ("", "Gr\u00fcn", "Gr\u00fcn/deep", "b")
    assert sorted(opened) == [tmp_path / name for name in folders]


def test_classes_that_are_numbers_keep_their_names(tmp_path):
    """Folders and CSV files order them by value: 2 is before 10."""
    names = tuple(str(number) for number in range(1, 12))
    paths = [f"{split}/{name}/0" for split in ("train", "test") for name in names]
    photos = plant(tmp_path / "photos", **{path: n for n, path in enumerate(paths)})
    write_clean(tmp_path / "clean.csv", diagnose(read_folder(photos)))
    assert read_csv(tmp_path / "clean.csv").class_names == names


def test_classes_are_numbered_where_those_that_are_left_would_change_their_order(tmp_path):
    """With "x" names are sorted as text, without it as numbers."""
    paths = [f"{split}/{name}/0" for split in ("train", "test") for name in ("2", "10", "x")]
    photos = plant(tmp_path / "photos", **{path: n for n, path in enumerate(paths)})
    (photos / "train/x/0.png").write_bytes(b"")
    diagnosis = diagnose(read_folder(photos))
    assert diagnosis.class_names == ("10", "2", "x")
    write_clean(tmp_path / "clean.csv", diagnosis)
    assert read_csv(tmp_path / "clean.csv").class_names == ("0.10", "1.2")


@pytest.mark.parametrize(
    ("names", "near"),
    [
        (["Crow", "crow", "Gull"], ["Crow ~ crow"]),
        (["Brewer_Blackbird", "Brewer Blackbird"], ["Brewer_Blackbird ~ Brewer Blackbird"]),
        (["Laysan Albatross", "Laysan Albatros", "Tern"], ["Laysan Albatross ~ Laysan Albatros"]),
        (["Kingfisher", "Kingfihser", "Kite"], ["Kingfisher ~ Kingfihser"]),
        (["Grün", "Grun"], ["Grün ~ Grun"]),
        (["Audi S4 Sedan", "Audi S5 Sedan"], []),  # digits count
        (["owl", "own", "a", "b", "cat", "bat"], []),  # short names
        (["House Wren", "Marsh Wren", "Rock Wren"], []),
        (["-", "Kite", "_"], ["- ~ _"]),
    ],
)
def test_names_that_are_nearly_the_same(names, near):
    assert near_names(names) == near
    others = [f"{10 * number:04d} {name}" for number, name in enumerate(names)]
    assert near_names(others) == []


def test_of_thousands_of_names_that_share_most_letters_few_are_near():
    spelt = str.maketrans({str(digit): 3 * "abcdefghij"[digit] for digit in range(10)})
    names = [f"Species number {number:04d}".translate(spelt) for number in range(2000)]
    names += [f"Species number {number:05d} of its genus" for number in range(2000)]
    assert near_names([*names, "Species of its genos", "Species of its genus"]) == [
        "Species of its genos ~ Species of its genus"
    ]


def test_no_pair_is_passed_over():
    """Compared for words of a few letters, which lack their ends or some letters."""
    rng = np.random.default_rng(0)
    words = rng.choice(list("ab鸟 1²"), (40, 9))
    names = ["".join(word[: rng.integers(10)]) for word in words for _ in range(3)]
    names += ["".join(word[rng.permutation(9) < 7]) for word in words for _ in range(3)]
    names = list(dict.fromkeys(names))
    pairs = [
        f"{one} ~ {other}"
        for one, other in combinations(names, 2)
        if class_names._is_near(class_names._plain(one), class_names._plain(other))
    ]
    assert len(pairs) > 50
    assert near_names(names) == pairs


def test_a_misspelt_label_shows(tmp_path):
    diagnosis = three(tmp_path, **{"train/Crwo/0": 999})
    notes = [line for line in report(diagnosis) if line.startswith("note: class")]
    assert (
        "note: classes of one listed image (1): Crwo. A misspelt label makes such a class." in notes
    )
    assert "note: class names that are nearly the same (1): Crow ~ Crwo. Is one misspelt?" in notes
    official = report(diagnosis._replace(official=(5, 4)))
    assert not any("nearly the same" in line for line in official)  # whose names are as they are


def test_a_guessed_depth_is_a_note(tmp_path):
    samples = (np.linspace(0, 4095, 120).reshape(12, 10)).astype(np.uint16)
    (note,) = [
        line for line in report(three(tmp_path, **{"train/Gull/9": samples})) if "bit depth" in line
    ]
    assert note.endswith(
        "(1): train/Gull/9.tif. Of the first, samples from 0 to 4095 read as 12 bits."
    )


def test_a_box_that_does_not_lie_on_its_photo_is_a_problem(tmp_path):
    """A photo of 12 rows and 100 columns, upright: it is stored as 100 rows and 12 columns."""
    boxes = {
        "around it": ((0, 0, 100, 12), False),
        "a tenth too far": ((-10, -1, 110, 13), False),
        "right of it": ((5, 12, 9, 13), True),
        "below it": ((100, 3, 104, 9), True),
        "of a larger photo": ((5, 5, 90, 14), True),
        "far above": ((-11, 0, 50, 12), True),
        "far away": ((9e4, 9e4, 9e4 + 5, 9e4 + 5), True),
        "none": (NO_BOX, False),
    }
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored image's rows are columns
    records = []
    for number, (name, (box, _)) in enumerate(boxes.items()):
        pixels = np.random.default_rng(number).integers(0, 256, (100, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", exif=exif)
        records.append(Record(f"{name}.png", 0, "train" if number else "test", box))
    common = {"official": None, "source": tmp_path, "remedy": "Restore it."}
    listed = annotations("birds", tmp_path, records, ("Crow",), **common)
    (said,) = problems(diagnose(listed))
    wrong = sorted(f"{name}.png" for name, (_, is_wrong) in boxes.items() if is_wrong)
    assert said == (
        f"boxes that do not lie on their photos (5): {', '.join(wrong[:3])}, ... Scores of boxes "
        "would be wrong: correct them, or take away the list of boxes."
    )
    source = photo_dataset(listed).train
    drawn = Dataset("drawn", source.at(None), photo_dataset(listed).test, ("Crow",))
    assert [f"{image.name}" for image in diagnose(drawn).astray] == wrong


def test_a_half_jpeg_is_unreadable(tmp_path, capfd):
    three(tmp_path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
    path = tmp_path / "train" / "Crow" / "half.jpg"
    image.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"\xff\xd9")
    (said,) = problems(diagnose(read_folder(tmp_path)))
    assert said.startswith("unreadable images (1): train/Crow/half.jpg. The first: cannot decode")
    assert "Corrupt" not in "".join(capfd.readouterr())


def test_a_folder_that_cannot_be_read_is_a_note_and_photos_in_it_are_missing(tmp_path, monkeypatch):
    photos = plant(tmp_path, **{"open/a/0": 1, "open/b/1": 2, "open/b/2": 3, "closed/Grün": 4})
    rows = [("open/a/0", "a", "train"), ("open/b/1", "b", "train"), ("open/b/2", "b", "test")]
    listed = [(f"{path}.png", *rest) for path, *rest in [*rows, ("closed/Grün", "a", "train")]]
    write_csv(photos / "list.csv", listed)
    scandir, stat = os.scandir, os.stat

    def closed(function):
        def call(path, *args, **kwargs):
            parts = Path(path).parts
            if "closed" in (parts if function is scandir else parts[:-1]):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *args, **kwargs)

        return call

    monkeypatch.setattr(os, "scandir", closed(scandir))
    monkeypatch.setattr(os, "stat", closed(stat))
    assert find_files(photos).closed == ("closed/",)
    with pytest.raises(
        ValueError, match="1 folder or link that cannot be read, the first: 'closed/'"
    ):
        read_folder(photos)
    diagnosis = diagnose(read_csv(photos / "list.csv"))
    assert "note: folders or links left out that cannot be read (1): closed/." in report(diagnosis)
    assert [image.name for image in diagnosis.missing] == ["closed/Grün.png"]
    assert len(diagnosis.readable) == 3


class Records(Sequence):
    """Records as tensorflow-datasets' reader gives them; None stands for a damaged one."""

    def __init__(self, *records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        if self.records[index] is None:
            raise RuntimeError("CRC mismatch")
        return self.records[index]


def record(seed, label, whole=True):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 8, 3), np.uint8)).save(
        stream, "PNG"
    )
    return {"image": stream.getvalue()[: None if whole else 50], "label": label}


def test_damaged_records_are_unreadable_images(tmp_path, monkeypatch):
    # In these tests types are checked, by reading every attribute: also all labels, which fails.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    train = Records(record(0, 0), None, record(1, 1), record(2, 7), record(3, 1, whole=False))
    sources = (
        TfdsSource(records, tmp_path, split, 2)
        for records, split in ((train, "train"), (Records(None, record(4, 1)), "test"))
    )
    diagnosis = diagnose(Dataset("tfds:birds", *sources, ("Crow", "Gull")))
    damaged = [
        ListedImage("train", "train/00001", UNKNOWN),
        ListedImage("train", "train/00003", UNKNOWN),
    ]
    damaged += [ListedImage("train", "train/00004", 1), ListedImage("test", "test/00000", UNKNOWN)]
    assert list(diagnosis.undecodable) == damaged
    (said,) = problems(diagnosis)
    assert said.startswith(
        "unreadable images (4): train/00001, train/00003, train/00004, ... The first: record "
        f"train/00001 of {tmp_path} cannot be read: CRC mismatch"
    )
    assert "note: classes of one listed image (1): Crow." in "\n".join(report(diagnosis))
