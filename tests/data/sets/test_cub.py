"""The CUB reader: tiny copies in the official layout, every way to break them, the real lists."""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import REAL

from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.photos import PhotoTable

FEW = settings(deadline=None, max_examples=25)
GREY = "009.Brewer_Blackbird/Brewer_Blackbird_0028_2682.jpg"  # the one greyscale photo
CUB10, LISTS = REAL / "cub10" / "CUB_200_2011", REAL / "annotations" / "cub"

# Ids neither consecutive nor in the order of the rows: joining by line number cannot pass.
ROWS = {
    "classes.txt": ["2 002.Laysan_Albatross", "1 001.Black_footed_Albatross"],
    "images.txt": ["7 2/a b.jpg", "3 1/c.jpg", r"12 1\d.jpg", "5 2/é鸟.jpg"],
    "image_class_labels.txt": ["3 1", "5 2", "7 2", "12 1"],
    "train_test_split.txt": ["12 0", "7 1", "5 0", "3 1"],
    "bounding_boxes.txt": ["5 1 2 3 4", "3 1.5 2.0 3.0 4.0", "12 0 0 8 6", "7 2 1 4 3"],
}
LIST_NAMES = st.sampled_from(sorted(ROWS))
LABELS, SPLIT, BOXES = "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"


def write(root, rows=ROWS):
    """Writes a copy whose images are 8 x 6, with the red level of their id."""
    for name, lines in rows.items():
        (root / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for number, name in (row.replace("\\", "/").split(maxsplit=1) for row in ROWS["images.txt"]):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (int(number), 0, 0)).save(path, quality=100)
    return root


def check(annotations):
    assert annotations.official is None
    _, train, test, class_names, _ = annotations[:5]
    assert class_names == ("Black footed Albatross", "Laysan Albatross")
    assert train.names == ("1/c.jpg", "2/a b.jpg")  # ids 3, 7
    assert test.names == ("1/d.jpg", "2/é鸟.jpg")  # ids 12, 5: the order is that of the paths
    assert (train.labels, test.labels) == ((0, 1), (0, 1))
    # x y width height -> top left bottom right
    np.testing.assert_array_equal(train.boxes, [[2, 1.5, 6, 4.5], [1, 2, 4, 6]])
    np.testing.assert_array_equal(test.boxes, [[0, 0, 6, 8], [2, 1, 6, 4]])


def test_an_image_in_the_folder_of_another_class_is_refused(tmp_path):
    """This is so where two paths in images.txt are swapped: lists complete, two labels wrong."""
    folders = ["002.Laysan_Albatross", "001.Black_footed_Albatross"]
    names = [f"{folders[0]}/a.jpg", f"{folders[1]}/b.jpg", f"{folders[1]}/c.jpg", "elsewhere/d.jpg"]
    rows = dict(zip((7, 3, 12, 5), names, strict=True))
    write(tmp_path, ROWS | {"images.txt": [f"{key} {name}" for key, name in rows.items()]})
    assert read_cub(tmp_path).class_names == ("Black footed Albatross", "Laysan Albatross")
    rows[7], rows[3] = rows[3], rows[7]
    write(tmp_path, ROWS | {"images.txt": [f"{key} {name}" for key, name in rows.items()]})
    message = r"images\.txt: '001.*/b\.jpg' is labelled 2, which is '002\.Laysan_Albatross'"
    with pytest.raises(ValueError, match=message):
        read_cub(tmp_path)


def test_classes_of_one_name_are_told_apart(tmp_path):
    write(tmp_path, ROWS | {"classes.txt": ["2 002.A_b", "1 001.A_b"]})
    assert read_cub(tmp_path).class_names == ("A b (1)", "A b (2)")


@pytest.mark.parametrize("name", ["images.txt", "classes.txt"])
def test_an_empty_list_is_the_one_that_is_named(tmp_path, name):
    write(tmp_path, ROWS | {name: [" "]})
    with pytest.raises(ValueError, match=rf"/{name} has no rows: expected an id and a .* Restore"):
        read_cub(tmp_path)


def test_a_tiny_copy_end_to_end(tmp_path):
    (tmp_path / "CUB_200_2011").mkdir()
    check(read_cub(write(tmp_path / "CUB_200_2011")))
    name, train, test, class_names, _ = photo_dataset(
        read_cub(str(tmp_path))
    )  # the folder around it will do
    assert (name, len(train), len(test), len(class_names)) == ("cub", 2, 2, 2)
    image, label, box = test[0]
    assert image.shape == (6, 8, 3)
    assert abs(int(image[0, 0, 0]) - 12) <= 2
    assert (test.names[0], label, box.dtype) == ("1/d.jpg", 0, np.float32)
    np.testing.assert_array_equal(box, [0, 0, 6, 8])
    (tmp_path / "CUB_200_2011" / BOXES).unlink()  # then they are missing, and not invented
    assert np.isnan([example.box for example in photo_dataset(read_cub(tmp_path)).test]).all()


SPACES = st.text(" \t", max_size=3)


@FEW
@given(data=st.data())
def test_row_order_spaces_and_line_ends_mean_nothing(data):
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in ROWS.items():
            end = data.draw(st.sampled_from(["\n", "\r\n"]))
            rows = [data.draw(SPACES)]
            for number, rest in (
                line.split(maxsplit=1) for line in data.draw(st.permutations(lines))
            ):
                before, after = data.draw(SPACES), data.draw(SPACES)
                rows.append(f"{before}{number} {before}{rest}{after}")
            start, stop = data.draw(st.sampled_from([("", ""), ("\ufeff", end)]))
            (Path(folder) / name).write_bytes((start + end.join(rows) + stop).encode())
        check(read_cub(folder))


@FEW
@given(name=LIST_NAMES, number=st.integers(0, 3), place=st.integers(0, 4))
def test_a_row_that_is_missing_or_there_twice_is_an_error(name, number, place):
    row = ROWS[name][number % len(ROWS[name])]
    missing = [line for line in ROWS[name] if line != row]
    twice = [*ROWS[name][:place], row, *ROWS[name][place:]]
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(ValueError, match=r"\.txt.*expected.*Restore the lists"):
            read_cub(write(Path(folder), {**ROWS, name: missing}))
        with pytest.raises(ValueError, match=rf"{name}, row \d: .*each id once"):
            read_cub(write(Path(folder), {**ROWS, name: twice}))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (LABELS, "5 2", "5 3", r"row 2: '5 3': expected an id and one of the 2 class ids"),
        (LABELS, "5 2", "5", "row 2: '5': expected an id and"),
        (LABELS, "5 2", "", r"no row for 1 of the 4 ids in the list of images.*\[5\]"),
        (LABELS, "5 2", "6 2", "row 2: '6 2': expected an id that the list of images has"),
        (SPLIT, "7 1", "7 2", r"row 2: '7 2': expected an id and 1 \(train\) or 0"),
        (SPLIT, "7 1", "seven 1", "row 2: 'seven 1': expected an id"),
        (BOXES, "12 0 0 8 6", "12 0 0 8", "row 3: '12 0 0 8': expected .*x y width"),
        (BOXES, "12 0 0 8 6", "12 0 nan 8 6", "row 3"),
        (BOXES, "12 0 0 8 6", "12 -9 0 8 6", "row 3: .*of a box in the image"),
        (BOXES, "12 0 0 8 6", "", "no row for 1 of the 4 ids"),
        ("images.txt", "3 1/c.jpg", "3 ../c.jpg", "row 2: .*inside the folder images/"),
        ("images.txt", "3 1/c.jpg", r"3 1\..\..\c.jpg", "row 2: .*inside the folder"),
        ("images.txt", "3 1/c.jpg", "3 /etc/c.jpg", "row 2: .*inside the folder"),
        ("images.txt", "3 1/c.jpg", r"3 C:\c.jpg", "row 2: .*inside the folder"),
        ("images.txt", "3 1/c.jpg", "3 1/d.jpg", "1 image listed twice, .*'1/d.jpg'"),
    ],
)
def test_a_broken_row_is_named(tmp_path, name, old, new, message):
    rows = [new if row == old else row for row in ROWS[name]]
    with pytest.raises(ValueError, match=rf"{name}.*{message}.*Restore the lists from CUB_200"):
        read_cub(write(tmp_path, {**ROWS, name: rows}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images.txt", r"no images\.txt in .*CUB_200_2011.*Set data\.dir to"),
        *((name, rf"no {name} in .*Restore") for name in ("classes.txt", LABELS, SPLIT)),
        ("images/1/d.jpg", r"1 of 4 images of cub .*first: 1/d\.jpg.*data\.dir"),
    ],
)
def test_an_absent_file_is_named(tmp_path, name, message):
    (write(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        photo_dataset(read_cub(tmp_path))


def test_damaged_contents_are_named(tmp_path):
    (write(tmp_path) / "images" / "1" / "c.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1/c\.jpg.*0 bytes"):
        photo_dataset(read_cub(tmp_path)).train[0]
    (tmp_path / "images.txt").write_bytes("3 1/é.jpg\n".encode("utf-16")[:-1])
    with pytest.raises(ValueError, match=r"images\.txt is not UTF-8"):
        read_cub(tmp_path)


@pytest.mark.parametrize("num_train", [5993, 200])
def test_the_full_set_has_its_official_size(tmp_path, num_train):
    ids = range(11788)
    rows = {
        "classes.txt": [f"{k} {k:03d}.Bird_{k}" for k in range(1, 201)],
        "images.txt": [f"{i} a/{i}.jpg" for i in ids],
        LABELS: [f"{i} {i % 200 + 1}" for i in ids],
        SPLIT: [f"{i} {int(i < num_train)}" for i in ids],
    }
    with pytest.raises(ValueError, match=rf"{num_train} training and .*: expected 5994 and 5794"):
        read_cub(write(tmp_path, rows))


def test_a_larger_photo_than_the_run_allows_is_refused_when_it_is_read(tmp_path):
    lists = read_cub(write(tmp_path))
    assert photo_dataset(lists, max_pixels=48).train[0].image.shape == (6, 8, 3)
    with pytest.raises(ValueError, match=r"expected at most data\.max_pixels=47"):
        photo_dataset(lists, max_pixels=47).train[0]


def test_files_are_looked_for_several_at_a_time(tmp_path, monkeypatch):
    """A network disk takes long for each file; missing ones are reported in order."""
    names = tuple(f"{number}.jpg" for number in range(5000))
    for name in (there := names[3::7]):
        (tmp_path / name).touch()
    threads, is_file = set(), os.path.isfile

    def recorded(path):
        threads.add(threading.get_ident())
        return is_file(path)

    monkeypatch.setattr(os.path, "isfile", recorded)
    missing = PhotoTable(tmp_path, names, (0,) * len(names)).missing()
    assert missing == [name for name in names if name not in set(there)]
    assert len(threads) > 1


@pytest.mark.skipif(not LISTS.is_dir(), reason=f"{LISTS} is not here")
def test_the_real_lists_of_the_full_set():
    lists = read_cub(LISTS)
    _, train, test, class_names, official = lists[:5]
    assert official == (5994, 5794)
    assert (len(train), len(test), len(class_names)) == (5994, 5794, 200)
    assert (class_names[0], class_names[199]) == ("Black footed Albatross", "Common Yellowthroat")
    names, labels = train.names + test.names, train.labels + test.labels
    assert [int(name[:3]) - 1 for name in names] == list(labels)  # official folders are numbered
    assert train.names[0].endswith("Black_Footed_Albatross_0007_796138.jpg")
    np.testing.assert_array_equal(train.boxes[0], [86, 152, 227, 272])  # 152 86 120 141
    with pytest.raises(FileNotFoundError, match="11788 of 11788 images of cub"):
        photo_dataset(lists)


@pytest.mark.skipif(not CUB10.is_dir(), reason=f"{CUB10} is not here")
def test_ten_real_classes():
    _, train, test, class_names, _ = photo_dataset(read_cub(CUB10))
    assert (len(train), len(test), len(class_names)) == (300, 243, 10)
    for image, label, (top, left, bottom, right) in (train[0], test[242]):
        assert class_names[label] == ("Black footed Albatross", "Red winged Blackbird")[label > 0]
        assert 0 <= top < bottom <= image.shape[0]
        assert 0 <= left < right <= image.shape[1]
    source = train if GREY in train.names else test
    grey = source[source.names.index(GREY)].image
    assert (grey.shape, int(np.ptp(grey, axis=-1).max())) == ((333, 500, 3), 0)
