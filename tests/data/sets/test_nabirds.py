"""The NABirds reader: tiny copies in the official layout, and every way to break them."""

import itertools
import tempfile
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aftrans_jax.data.sets import nabirds
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.lists import xywh_box
from aftrans_jax.data.sets.nabirds import read_nabirds

FEW = settings(deadline=None, max_examples=25)
REMEDY = r"Restore the lists from nabirds\.tar\.gz \(https://dl\.allaboutbirds\.org/nabirds\)\.$"
LABELS, SPLIT, BOXES = "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"

A, B, C, D = (f"{digit * 8}-21dc-4d0c-bfe1-4cae3c85c829" for digit in "0a3f")
TITMOUSE, EIDER, EAGLE = f"0817/{C.replace('-', '')}.jpg", "0295/é鸟.JPG", "1010/e.jpg"
# The order of ids is neither that of rows nor that of text ("1010" < "295" < "817").
ROWS = {
    "classes.txt": [
        "0 Birds",
        "1010 Bald Eagle (Adult, subadult)",
        "295 Common Eider (Adult male)",
        "817 Oak Titmouse",
        "816 Titmice",
    ],
    "images.txt": [f"{C} {TITMOUSE}", f"{A} {EIDER}", f"{D} 0817/b.jpg", f"{B} {EAGLE}"],
    LABELS: [f"{A} 295", f"{B} 1010", f"{C} 817", f"{D} 817"],
    SPLIT: [f"{D} 0", f"{B} 0", f"{C} 1", f"{A} 1"],
    BOXES: [f"{B} 0 0 8 6", f"{A} 1 2 3 4", f"{D} 2 1 4 3", f"{C} 1.5 2.0 3.0 4.0"],
}
LEVELS = {TITMOUSE: 50, EIDER: 0, "0817/b.jpg": 200, EAGLE: 100}  # red of each image


def write(root, rows=ROWS, encoding="utf-8"):
    for name, lines in rows.items():
        (root / name).write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    return root


def test_classes_of_one_name_are_told_apart(tmp_path):
    classes = ["1010 Duck", "295 Duck", "817 Oak Titmouse", "816 Oak Titmouse"]  # 816: no images
    lists = read_nabirds(write(tmp_path, ROWS | {"classes.txt": classes}))
    assert lists.class_names == ("Duck (295)", "Oak Titmouse", "Duck (1010)")


def write_images(root):
    for name, level in LEVELS.items():
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (level, 0, 0)).save(path, quality=100)


def table(split):
    boxes = [tuple(box) for box in split.boxes.tolist()]
    return dict(zip(split.names, zip(split.labels, boxes, strict=True), strict=True))


def check(lists):
    name, train, test, class_names, official = lists[:5]
    assert (name, official) == ("nabirds", None)
    assert class_names == (
        "Common Eider (Adult male)",
        "Oak Titmouse",
        "Bald Eagle (Adult, subadult)",
    )
    # x y width height -> top left bottom right
    assert table(train) == {EIDER: (0, (2, 1, 6, 4)), TITMOUSE: (1, (2, 1.5, 6, 4.5))}
    assert table(test) == {EAGLE: (2, (0, 0, 6, 8)), "0817/b.jpg": (1, (1, 2, 4, 6))}


@pytest.mark.parametrize("nested", ["", "nabirds"])
def test_a_tiny_copy_end_to_end(tmp_path, nested):
    root = tmp_path / nested
    root.mkdir(exist_ok=True)
    write_images(write(root))
    (root / "README").write_bytes(b"\xff no list")
    (root / "hierarchy.txt").write_text("1010 0\n295 0\n816 0\n817 816\n")
    check(read_nabirds(str(tmp_path)))
    _, train, test, _, _ = photo_dataset(read_nabirds(tmp_path))
    for split in (train, test):
        for number, name in enumerate(split.names):
            assert split[number].image.shape == (6, 8, 3)
            assert abs(int(split[number].image[0, 0, 0]) - LEVELS[name]) <= 2
    _, label, box = test[test.names.index("0817/b.jpg")]
    assert (label, box.dtype, box.tolist()) == (1, np.float32, [1, 2, 4, 6])
    (root / BOXES).unlink()  # then they are missing, and not invented
    assert np.isnan([example.box for example in photo_dataset(read_nabirds(tmp_path)).test]).all()


SPACES = st.text(" \t", max_size=3)


@FEW
@given(data=st.data())
def test_row_order_spaces_and_padding_mean_nothing(data):
    rows = {}
    for name, lines in ROWS.items():
        order = data.draw(st.permutations(lines))
        before, between, after = (data.draw(SPACES) for _ in range(3))
        end = data.draw(st.sampled_from(["", "\r", "\n"]))
        rows[name] = [
            f"{before}{key} {between}{rest}{after}{end}"
            for key, rest in (line.split(maxsplit=1) for line in order)
        ]
    if data.draw(st.booleans()):
        rows[LABELS] = [
            row.replace(" 295", " 0295").replace(" 817", " 0817") for row in rows[LABELS]
        ]
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig"]))
    with tempfile.TemporaryDirectory() as folder:
        check(read_nabirds(write(Path(folder), rows, encoding)))


@FEW
@given(
    nodes=st.lists(st.integers(0, 9999), min_size=1, max_size=12, unique=True),
    keys=st.lists(st.uuids(), min_size=2, max_size=12, unique=True),
    data=st.data(),
)
def test_labels_are_the_ranks_of_the_classes_that_have_images(nodes, keys, data):
    """An independent count: how many classes with images have a smaller id."""
    class_of = {str(key): data.draw(st.sampled_from(nodes)) for key in keys}
    rows = {
        "classes.txt": [f"{node} name of {node}" for node in nodes],
        "images.txt": [f"{key} {number:04d}/{key}.jpg" for key, number in class_of.items()],
        LABELS: data.draw(st.permutations([f"{key} {class_of[key]}" for key in class_of])),
        SPLIT: [f"{key} {int(key == str(keys[0]))}" for key in class_of],
    }
    with tempfile.TemporaryDirectory() as folder:
        _, train, test, class_names, _ = read_nabirds(write(Path(folder), rows))[:5]
    assert len(train) == 1
    used = set(class_of.values())
    found = dict(zip(train.names + test.names, train.labels + test.labels, strict=True))
    assert {name[5:-4]: label for name, label in found.items()} == {
        key: sum(other < number for other in used) for key, number in class_of.items()
    }
    assert class_names == tuple(f"name of {number}" for number in sorted(used))


@FEW
@given(name=st.sampled_from(sorted(ROWS)), number=st.integers(0, 4), place=st.integers(0, 5))
def test_a_row_that_is_missing_or_there_twice_is_an_error(name, number, place):
    row = ROWS[name][number % len(ROWS[name])]
    missing = [line for line in ROWS[name] if line != row]
    twice = [*ROWS[name][:place], row, *ROWS[name][place:]]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {**ROWS, name: missing})
        if row in ("0 Birds", "816 Titmice"):  # nothing is of these
            check(read_nabirds(folder))
        else:
            with pytest.raises(ValueError, match=rf"\.txt.*expected.*{REMEDY}"):
                read_nabirds(folder)
        with pytest.raises(ValueError, match=rf"{name}, row \d: .*each id once.*{REMEDY}"):
            read_nabirds(write(Path(folder), {**ROWS, name: twice}))


@FEW
@given(data=st.data(), name=st.sampled_from(sorted(ROWS.keys() - {"classes.txt"})))
def test_a_malformed_uuid_is_named(data, name):
    key = str(data.draw(st.uuids()))
    at = data.draw(st.integers(0, 35))
    changes = [key[:at] + key[at + 1 :], f"{key[:at]}g{key[at + 1 :]}", f"{key[:at]}0{key[at:]}"]
    wrong = data.draw(st.sampled_from([*changes, uuid.UUID(key).hex, f"{{{key}}}", "7"]))
    rows = [f"{wrong} {ROWS[name][0].split(maxsplit=1)[1]}", *ROWS[name][1:]]
    message = rf"{name}, row 1: .*{wrong}.*: expected a UUID with dashes and .*{REMEDY}"
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ValueError, match=message):
        read_nabirds(write(Path(folder), {**ROWS, name: rows}))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (LABELS, "295", "296", "row 1: .* one of the 5 class ids in classes.txt"),
        (LABELS, "295", "-1", "row 1: .* one of the 5 class ids"),
        (LABELS, "295", "eider", "row 1: .* one of the 5 class ids"),
        (LABELS, " 295", "", "row 1: "),
        (LABELS, A, A.replace("0", "1"), "row 1: .*an id that the list of images has"),
        (LABELS, f"{A} 295", "", r"no row for 1 of the 4 ids .*'00000000-21dc"),
        (SPLIT, f"{D} 0", f"{D} 2", r"row 1: .* 1 \(train\) or 0 \(test\)"),
        (BOXES, "0 0 8 6", "0 0 8", "row 1: .* finite numbers x y width height"),
        (BOXES, "0 0 8 6", "0 0 0 6", "row 1: .* the last two above 0"),
        ("classes.txt", "295 Common", "two95 Common", "row 3: "),
        ("images.txt", "0817/b.jpg", "../b.jpg", "row 3: .* a path inside the folder images/"),
        ("images.txt", "0817/b.jpg", r"0817\..\..\b.jpg", "row 3: .* inside the folder"),
        ("images.txt", "0817/b.jpg", "/etc/b.jpg", "row 3: .* inside the folder"),
        ("images.txt", "0817/b.jpg", r"C:\b.jpg", "row 3: .* inside the folder"),
        ("images.txt", "0817/b.jpg", EAGLE, f"1 image listed twice, the first: '{EAGLE}'"),
    ],
)
def test_a_broken_row_is_named(tmp_path, name, old, new, message):
    rows = [row.replace(old, new) for row in ROWS[name]]
    assert rows != ROWS[name]
    with pytest.raises(ValueError, match=rf"{name}.*{message}.*{REMEDY}"):
        read_nabirds(write(tmp_path, {**ROWS, name: rows}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images.txt", r"no images\.txt in .*nabirds.*Set data\.dir to .*nabirds\.tar\.gz"),
        *((name, rf"no {name} in .*Restore") for name in ("classes.txt", LABELS, SPLIT)),
        (f"images/{EIDER}", r"1 of 4 images of nabirds.*first: 0295/é鸟\.JPG.*data\.dir"),
    ],
)
def test_an_absent_file_is_named(tmp_path, name, message):
    write_images(write(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        photo_dataset(read_nabirds(tmp_path))


@pytest.mark.parametrize(
    ("num_used", "message"),
    [
        (554, "images of 554 classes: expected 555 of the 1011 in classes.txt"),
        (556, "images of 556 classes: expected 555"),
        (555, "554 training and 1 test images of 555 classes: expected 23929 and 24633"),
    ],
)
def test_the_whole_tree_means_the_official_numbers(tmp_path, num_used, message, monkeypatch):
    keys = [str(uuid.UUID(int=number)) for number in range(num_used)]
    rows = {
        "classes.txt": [f"{node} bird {node}" for node in range(1011)],
        "images.txt": [f"{key} {key}.jpg" for key in keys],
        LABELS: [f"{key} {number + 295}" for number, key in enumerate(keys)],
        SPLIT: [f"{key} {int(key != keys[0])}" for key in keys],
    }
    with pytest.raises(ValueError, match=rf"{message}.*{REMEDY}"):
        read_nabirds(write(tmp_path, rows))
    if num_used == 555:
        monkeypatch.setattr(nabirds, "_OFFICIAL", (554, 1))
        lists = read_nabirds(tmp_path)
        assert (lists.official, lists.class_names[0]) == ((554, 1), "bird 295")


def test_a_box_is_finite_and_has_an_area_in_a_photo_or_is_refused():
    """Every row of four out of six numbers; what must be refused is said apart from the code."""
    for row in itertools.product(("-1", "0", "0.5", "3", "inf", "nan"), repeat=4):
        x, y, width, height = map(float, row)
        outside = x + width <= 0 or y + height <= 0
        if {"inf", "nan"} & {*row} or {"-1", "0"} & {*row[2:]} or outside:
            with pytest.raises(ValueError, match=" ".join(row)):
                xywh_box(" ".join(row))
        else:
            assert xywh_box("\t".join(row)) == (y, x, y + height, x + width)
    with pytest.raises(ValueError, match="1e39 1 5 5"):  # more than float32 holds
        xywh_box("1e39 1 5 5")
    for text in ("", "1 2 3", "1 2 3 4 5", "1 2 3 four"):
        with pytest.raises(ValueError, match=r"values to unpack|could not convert"):
            xywh_box(text)
