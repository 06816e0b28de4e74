"""The CUB reader: tiny copies in the official layout, every way to break them, the real lists."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aftrans_jax.data.cub import read_annotations, read_cub
from aftrans_jax.data.examples import Examples, PhotoSource

FEW = settings(deadline=None, max_examples=25)
REAL = Path(__file__).parents[3] / "shared" / "real"
CUB10, LISTS = REAL / "cub10" / "CUB_200_2011", REAL / "annotations" / "cub"

# Ids neither consecutive nor in the order of the rows: joining by line number cannot pass.
ROWS = {
    "classes.txt": ["2 002.Laysan_Albatross", "1 001.Black_footed_Albatross"],
    "images.txt": ["7 002.L/a b.jpg", "3 001.B/c.jpg", "12 001.B/d.jpg", "5 002.L/é鸟.jpg"],
    "image_class_labels.txt": ["3 1", "5 2", "7 2", "12 1"],
    "train_test_split.txt": ["12 0", "7 1", "5 0", "3 1"],
    "bounding_boxes.txt": ["5 1 2 3 4", "3 1.5 2.0 3.0 4.0", "12 0 0 8 6", "7 2 1 4 3"],
}
LIST_NAMES = sorted(ROWS)


def write(root, rows=ROWS, images=False):
    """Writes a copy; its images are 8 x 6 with the red level of their id."""
    root.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        (root / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for row in ROWS["images.txt"] if images else ():
        number, name = row.split(maxsplit=1)
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (int(number), 0, 0)).save(root / "images" / name, quality=100)
    return root


def changed(name, old, new):
    """The rows of a copy in which one row of one list is another (None: gone)."""
    lines = [new if line == old else line for line in ROWS[name]]
    assert lines != ROWS[name]
    return {**ROWS, name: [line for line in lines if line is not None]}


def check(annotations):
    train, test, class_names = annotations
    assert class_names == ("Black footed Albatross", "Laysan Albatross")
    assert train.names == ("001.B/c.jpg", "002.L/a b.jpg")  # ids 3, 7
    assert test.names == ("002.L/é鸟.jpg", "001.B/d.jpg")  # ids 5, 12
    assert train.labels == (0, 1)
    assert test.labels == (1, 0)
    # x y width height -> top left bottom right
    np.testing.assert_array_equal(train.boxes, [[2, 1.5, 6, 4.5], [1, 2, 4, 6]])
    np.testing.assert_array_equal(test.boxes, [[2, 1, 6, 4], [0, 0, 6, 8]])


def test_a_tiny_copy_end_to_end(tmp_path):
    dataset = read_cub(write(tmp_path, images=True))
    assert dataset.name == "cub"
    assert dataset.class_names == ("Black footed Albatross", "Laysan Albatross")
    assert (len(dataset.train), len(dataset.test)) == (2, 2)
    assert list(dataset.test.names) == ["002.L/é鸟.jpg", "001.B/d.jpg"]
    image, label, box = dataset.test[1]
    assert image.shape == (6, 8, 3)
    assert abs(int(image[0, 0, 0]) - 12) <= 2
    assert label == 0
    np.testing.assert_array_equal(box, [0, 0, 6, 8])
    assert box.dtype == np.float32


def test_the_folder_around_it_will_do(tmp_path):
    write(tmp_path / "CUB_200_2011")
    check(read_annotations(tmp_path))
    check(read_annotations(str(tmp_path / "CUB_200_2011")))


SPACES = st.text(" \t", max_size=3)


@FEW
@given(data=st.data())
def test_row_order_spaces_and_line_ends_mean_nothing(data):
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in ROWS.items():
            end = data.draw(st.sampled_from(["\n", "\r\n"]))
            rows = []
            for line in data.draw(st.permutations(lines)):
                number, rest = line.split(maxsplit=1)
                before, after = data.draw(SPACES), data.draw(SPACES)
                rows.append(f"{before}{number} {before}{rest}{after}")
            rows.insert(data.draw(st.integers(0, len(rows))), data.draw(SPACES))
            mark = data.draw(st.sampled_from(["", "\ufeff"]))
            tail = data.draw(st.sampled_from(["", end, end + end]))
            (Path(folder) / name).write_bytes((mark + end.join(rows) + tail).encode())
        check(read_annotations(folder))


@FEW
@given(name=st.sampled_from(LIST_NAMES), number=st.integers(0, 3))
def test_a_missing_row_is_an_error_that_names_a_list(name, number):
    line = ROWS[name][number % len(ROWS[name])]
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), changed(name, line, None))
        with pytest.raises(ValueError, match=r"\.txt.*expected.*Restore the lists"):
            read_annotations(root)


@FEW
@given(name=st.sampled_from(LIST_NAMES), number=st.integers(0, 3), place=st.integers(0, 4))
def test_a_second_row_for_an_id_is_an_error(name, number, place):
    rows = list(ROWS[name])
    rows.insert(place, rows[number % len(rows)])
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), {**ROWS, name: rows})
        with pytest.raises(ValueError, match=rf"{name}, row \d: .*each id once"):
            read_annotations(root)


BROKEN = [
    (
        "image_class_labels.txt",
        "5 2",
        "5 3",
        r"row 2: '5 3': expected an id and one of the 2 class",
    ),
    ("image_class_labels.txt", "5 2", "5 -1", "row 2: '5 -1'"),
    ("image_class_labels.txt", "5 2", "5 1.5", "row 2: '5 1.5'"),
    ("image_class_labels.txt", "5 2", "5", "row 2: '5': expected an id and"),
    ("image_class_labels.txt", "5 2", None, r"no row for 1 of the 4 ids in images.txt.*\[5\]"),
    ("image_class_labels.txt", "5 2", "6 2", "row 2: '6 2': expected an id that images.txt lists"),
    ("train_test_split.txt", "7 1", "7 2", r"row 2: '7 2': expected an id and 1 \(train\) or 0"),
    ("train_test_split.txt", "7 1", "seven 1", "row 2: 'seven 1': expected an id"),
    ("bounding_boxes.txt", "12 0 0 8 6", "12 0 0 8", "row 3: '12 0 0 8': expected .*x y width"),
    ("bounding_boxes.txt", "12 0 0 8 6", "12 0 0 0 6", "row 3"),
    ("bounding_boxes.txt", "12 0 0 8 6", "12 0 nan 8 6", "row 3"),
    ("bounding_boxes.txt", "12 0 0 8 6", None, "no row for 1 of the 4 ids"),
    ("images.txt", "3 001.B/c.jpg", "3 ../c.jpg", "row 2: .*inside the folder images/"),
    ("images.txt", "3 001.B/c.jpg", "3 001.B/../../c.jpg", "row 2: .*inside the folder"),
    ("images.txt", "3 001.B/c.jpg", "3 /etc/c.jpg", "row 2: .*inside the folder"),
    ("images.txt", "3 001.B/c.jpg", r"3 001.B\..\..\c.jpg", "row 2: .*inside the folder"),
    ("images.txt", "3 001.B/c.jpg", r"3 C:\c.jpg", "row 2: .*inside the folder"),
    ("images.txt", "3 001.B/c.jpg", "3 001.B/d.jpg", "1 images have two ids, .*'001.B/d.jpg'"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), BROKEN)
def test_a_broken_row_is_named(tmp_path, name, old, new, message):
    root = write(tmp_path, changed(name, old, new))
    with pytest.raises(ValueError, match=rf"{name}.*{message}.*Restore the lists from CUB_200"):
        read_annotations(root)


def test_windows_slashes_inside_the_folder_are_fine(tmp_path):
    rows = changed("images.txt", "3 001.B/c.jpg", r"3 001.B\c.jpg")
    check(read_annotations(write(tmp_path, rows)))


def test_a_text_in_another_encoding_is_named(tmp_path):
    (write(tmp_path) / "images.txt").write_bytes(b"3 001.B/\xe9.jpg\n")
    with pytest.raises(ValueError, match=r"images\.txt is not UTF-8"):
        read_annotations(tmp_path)


def test_without_boxes_they_are_missing_and_not_invented(tmp_path):
    (write(tmp_path, images=True) / "bounding_boxes.txt").unlink()
    dataset = read_cub(tmp_path)
    for source in (dataset.train, dataset.test):
        assert all(np.isnan(source[index].box).all() for index in range(2))


@pytest.mark.parametrize(
    "name", [n for n in LIST_NAMES if n not in ("images.txt", "bounding_boxes.txt")]
)
def test_an_absent_list_is_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {name} in .*Restore"):
        read_annotations(tmp_path)


def test_a_folder_without_the_set_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no images\.txt in .*Set data\.dir to"):
        read_cub(tmp_path / "nowhere")


def test_absent_images_are_counted_and_named(tmp_path):
    root = write(tmp_path, images=True)
    (root / "images" / "001.B" / "d.jpg").unlink()
    (root / "images" / "002.L" / "a b.jpg").unlink()
    match = r"2 of 4 images of cub .*002\.L/a b\.jpg, 001\.B/d\.jpg.*data\.dir"
    with pytest.raises(FileNotFoundError, match=match):
        read_cub(root)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path):
    root = write(tmp_path, images=True)
    (root / "images" / "001.B" / "c.jpg").write_bytes(b"")
    dataset = read_cub(root)
    with pytest.raises(ValueError, match=r"001\.B/c\.jpg.*0 bytes"):
        dataset.train[0]


@pytest.mark.parametrize(("num_train", "num_test"), [(5994, 5793), (5993, 5795), (200, 200)])
def test_the_full_set_has_its_official_size(tmp_path, num_train, num_test):
    total = num_train + num_test
    rows = {
        "classes.txt": [f"{k} {k:03d}.Bird_{k}" for k in range(1, 201)],
        "images.txt": [f"{i} a/{i}.jpg" for i in range(total)],
        "image_class_labels.txt": [f"{i} {i % 200 + 1}" for i in range(total)],
        "train_test_split.txt": [f"{i} {int(i < num_train)}" for i in range(total)],
    }
    match = rf"{num_train} train and {num_test} test images of 200 classes: expected 5994 and 5794"
    with pytest.raises(ValueError, match=match):
        read_annotations(write(tmp_path, rows))


def test_a_split_without_images_is_refused(tmp_path):
    rows = {**ROWS, "train_test_split.txt": ["12 1", "7 1", "5 1", "3 1"]}
    with pytest.raises(ValueError, match=r"0 names.*at least one"):
        read_annotations(write(tmp_path, rows))


@pytest.mark.parametrize(
    ("names", "labels", "boxes", "message"),
    [
        ((), (), None, "0 names, 0 labels and 0 boxes"),
        (("a",), (0, 1), None, "1 names, 2 labels"),
        (("a", "b"), (0, 1), np.zeros((1, 4), np.float32), "2 labels and 1 boxes"),
        (("a", "b"), (0, 2), None, r"b: label 2: expected an int in \[0, 2\)"),
        (("a", "b"), (-1, 1), None, "a: label -1"),
    ],
)
def test_a_table_refuses_what_cannot_be(names, labels, boxes, message):
    with pytest.raises(ValueError, match=message):
        Examples(Path("set"), names, labels, 2, boxes)


needs_cub10 = pytest.mark.skipif(not CUB10.is_dir(), reason=f"{CUB10} is not here")
needs_lists = pytest.mark.skipif(not LISTS.is_dir(), reason=f"{LISTS} is not here")


@needs_lists
def test_the_real_lists_of_the_full_set():
    train, test, class_names = read_annotations(LISTS)
    assert (len(train), len(test), len(class_names)) == (5994, 5794, 200)
    assert class_names[0] == "Black footed Albatross"
    assert class_names[199] == "Common Yellowthroat"
    for table in (train, test):  # official paths begin with the number of their class
        assert all(
            int(name[:3]) == label + 1
            for name, label in zip(table.names, table.labels, strict=True)
        )
    assert not set(train.names) & set(test.names)
    assert np.isfinite(train.boxes).all()
    first = train.names.index("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg")
    np.testing.assert_array_equal(train.boxes[first], [30, 139, 294, 292])  # 139 30 153 264


@needs_lists
def test_the_real_lists_without_their_images():
    with pytest.raises(FileNotFoundError, match="11788 of 11788 images of cub"):
        read_cub(LISTS)


@needs_cub10
def test_ten_real_classes():
    dataset = read_cub(CUB10)
    assert (len(dataset.train), len(dataset.test), len(dataset.class_names)) == (300, 243, 10)
    for source in (dataset.train, dataset.test):
        image, label, box = source[0]
        assert image.ndim == 3
        assert dataset.class_names[label] == "Black footed Albatross"
        assert (box >= 0).all()
        assert (box <= [*image.shape[:2], *image.shape[:2]]).all()


@needs_cub10
def test_the_real_greyscale_photo_decodes():
    dataset = read_cub(CUB10)
    grey = []
    for source in (dataset.train, dataset.test):
        assert isinstance(source, PhotoSource)
        for index, name in enumerate(source.names):
            with Image.open(source.examples.root / name) as image:
                if image.mode == "L":
                    grey.append(source[index].image)
    assert len(grey) == 1
    assert np.ptp(grey[0], axis=-1).max() == 0
    assert np.ptp(grey[0]) > 100
