"""The Dogs reader: tiny copies in the official layout, every way to break them, the real lists."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from mat_files import NOT_MAT_FILES, cells, save, save_images
from places import REAL

from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.dogs import read_dogs

FEW = settings(deadline=None, max_examples=25)
LISTS = REAL / "annotations"
LISTS, FAKES = LISTS / "stanford_dogs", LISTS / "tfds_fake_examples" / "stanford_dogs"
TRAIN, TEST = "train_list.mat", "test_list.mat"
# The first label belongs to the last folder: the order of folders cannot pass for the labels.
SHIH, TOY = "n02086240-Shih-Tzu", "n01-toy_terrier_é鸟"
ROWS = {
    TRAIN: [(f"{TOY}/b c.jpg", 2), (f"{SHIH}/d.jpg", 1), (f"{SHIH}/a.jpg", 1)],
    TEST: [(f"{SHIH}/e.jpg", 1), (f"{TOY}/a.jpg", 2)],
}
IMAGES = [f"{TOY}/b c.jpg", f"{SHIH}/a.jpg", f"{SHIH}/d.jpg", f"{TOY}/a.jpg", f"{SHIH}/e.jpg"]
OBJECT = (
    "<object><name>x</name><bndbox>\n\t<xmin>{}</xmin><ymin>{}</ymin> <xmax>{}</xmax>"
    "<ymax> {} </ymax></bndbox></object>"
)
both_lists = pytest.mark.parametrize("path", [TRAIN, TEST])


def write(root, rows=ROWS):
    for path, entries in rows.items():
        names, labels = zip(*entries, strict=True)
        column = (
            np.array(labels)[:, None]
            if all(np.ndim(label) == 0 and not isinstance(label, str) for label in labels)
            else cells(labels)
        )
        save(root / path, file_list=cells(names), labels=column)
    return root


def write_boxes(root, **corners):
    """XML files with one object each, and a second in all of them that does not count."""
    for name in IMAGES:
        path = root / "Annotation" / name.removesuffix(".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        box = corners.get(path.name, (0, 1, 5, 6))
        path.write_text(
            f"<annotation>{OBJECT.format(*box)}{OBJECT.format(1, 1, 2, 2)}</annotation>"
        )
    return root


def replaced(path, number, entry):
    entries = list(ROWS[path])
    entries[number] = entry
    return {**ROWS, path: entries}


def check(lists):
    assert (lists.name, lists.official) == ("dogs", None)
    assert lists.class_names == ("Shih-Tzu", "toy terrier é鸟")
    assert lists.train.names == (f"{TOY}/b c.jpg", f"{SHIH}/a.jpg", f"{SHIH}/d.jpg")
    assert lists.test.names == (f"{TOY}/a.jpg", f"{SHIH}/e.jpg")
    assert (lists.train.labels, lists.test.labels) == ((1, 0, 0), (1, 0))


def test_classes_of_one_name_are_told_apart(tmp_path):
    rows = {TRAIN: [("n1-A_b/a.jpg", 1), ("n2-A_b/a.jpg", 2)], TEST: [("n1-A_b/b.jpg", 1)]}
    assert read_dogs(write(tmp_path, rows)).class_names == ("A b (n1-A_b)", "A b (n2-A_b)")


def test_an_annotation_that_is_a_folder_is_named(tmp_path):
    write_boxes(write(tmp_path))
    path = tmp_path / "Annotation" / SHIH / "a"
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=rf"{path} cannot be read \(Is a directory\)\. Restore the"):
        read_dogs(tmp_path)


@pytest.mark.parametrize("folder", ["", "lists"])
def test_a_tiny_copy_end_to_end(tmp_path, folder):
    root = tmp_path / "stanford_dogs"
    write(root / folder)
    save_images(root / "Images", IMAGES)
    check(read_dogs(root))
    assert read_dogs(root).train.boxes is None
    write_boxes(root, e=(2.5, 0, 8, 6))
    check(read_dogs(root))
    name, train, test, class_names, _ = photo_dataset(read_dogs(str(tmp_path)))
    assert (name, len(train), len(test), len(class_names)) == ("dogs", 3, 2, 2)
    image, label, box = test[1]
    assert (image.shape, label, box.dtype) == ((6, 8, 3), 0, np.float32)
    assert abs(int(image[0, 0, 0]) - 40) <= 2
    # xmin ymin xmax ymax -> top left bottom right
    np.testing.assert_array_equal(box, [0, 2.5, 6, 8])
    np.testing.assert_array_equal(train[2].box, [1, 0, 6, 5])
    (root / "Images" / SHIH / "e.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 5 images of dogs .*{SHIH}/e\.jpg"):
        photo_dataset(read_dogs(root))


@FEW
@given(data=st.data())
def test_row_order_and_number_types_mean_nothing(data):
    number = data.draw(st.sampled_from([np.uint8, np.float64, np.int32]))
    rows = {
        path: [(name, number(label)) for name, label in data.draw(st.permutations(entries))]
        for path, entries in ROWS.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        check(read_dogs(write(Path(folder), rows)))


@both_lists
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        *(((f"{SHIH}/z.jpg", bad), "a label from 1 to 2, .*one for each") for bad in (0, 3, -1, 2)),
        ((f"{TOY}/z.jpg", 1), "a label from 1 to 2, .*one for each"),
        *(
            ((f"{SHIH}/z.jpg", bad), "a path folder/image and a whole number")
            for bad in (float("nan"), float("inf"), 1.5, "1", [1, 2], [])
        ),
        *(
            ((bad, 1), "a path folder/image and a whole number")
            for bad in ("../a.jpg", "/a/b.jpg", r"..\a.jpg", r"C:\a.jpg", r"a\..\..\b.jpg", "", 7.0)
        ),
        *(((bad, 1), "a path folder/image") for bad in ("a.jpg", "a/b/c.jpg", ["a/b", "a/c"])),
    ],
)
def test_a_damaged_entry_is_named(tmp_path, path, entry, message):
    with pytest.raises(ValueError, match=rf"{path}, row \d: .*: expected {message}.*lists\.tar"):
        read_dogs(write(tmp_path, replaced(path, 1, entry)))


@pytest.mark.parametrize(
    ("train", "row", "message"),
    [
        ([(TOY, 2), (SHIH, 1), (SHIH, 2)], 3, f"2 goes with {TOY}, {SHIH} with 1"),
        ([(SHIH, 1), (SHIH, 2), (TOY, 2)], 2, f"2 goes with {SHIH}, {SHIH} with 1"),
        ([(SHIH, 1), (TOY, 1), (TOY, 1)], 2, f"1 goes with {SHIH}, {TOY} with 1"),
        ([(SHIH, 1), (TOY, 3), (TOY, 3)], 2, f"3 goes with {TOY}, {TOY} with 3"),
        ([(SHIH, 0), (TOY, 2), (SHIH, 0)], 1, f"0 goes with {SHIH}, {SHIH} with 0"),
    ],
)
def test_the_first_row_where_labels_and_folders_part_is_named(tmp_path, train, row, message):
    rows = {
        TRAIN: [(f"{folder}/{number}.jpg", label) for number, (folder, label) in enumerate(train)],
        TEST: [(f"{folder}/test.jpg", label) for folder, label in dict(reversed(train)).items()],
    }
    with pytest.raises(ValueError, match=rf"{TRAIN}, row {row}: .* from 1 to 2, .*{message}"):
        read_dogs(write(tmp_path, rows))


def test_an_image_that_is_there_twice_is_named(tmp_path):
    for path in ROWS:
        rows = {**ROWS, path: [*ROWS[path], ROWS[path][0]]}
        with pytest.raises(
            ValueError, match=rf"{path}, row {len(rows[path])}: .* once, but it has"
        ):
            read_dogs(write(tmp_path, rows))
    rows = {**ROWS, TEST: [*ROWS[TEST], ROWS[TRAIN][0]]}  # test images that were trained on
    with pytest.raises(ValueError, match=rf"1 image listed twice, the first: '{TOY}/b c\.jpg'"):
        read_dogs(write(tmp_path, rows))


@both_lists
def test_a_missing_or_short_variable_is_named(tmp_path, path):
    write(tmp_path)
    names, labels = cells(["a/b.jpg", "a/c.jpg"]), np.array([[1], [1]])
    for variables, message in (
        ({"labels": labels}, "has no file_list: expected file_list, labels"),
        ({"file_list": names}, "has no labels: expected file_list, labels"),
        ({"other": labels}, "has no file_list or labels: expected"),
        ({"file_list": names, "labels": labels[:1]}, r"has \[2, 1\] entries in file_list, labels"),
    ):
        save(tmp_path / path, **variables)
        with pytest.raises(ValueError, match=rf"{path} {message}.*lists\.tar"):
            read_dogs(tmp_path)


@both_lists
def test_a_file_that_is_no_mat_file_is_named(tmp_path, path):
    write(tmp_path)
    content = (tmp_path / path).read_bytes()
    for damaged in (*NOT_MAT_FILES, content[:100], content[:200], content[:-1]):
        (tmp_path / path).write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path} cannot be read .*expected .*lists\.tar"):
            read_dogs(tmp_path)
    (tmp_path / path).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {path} (in|or)"):
        read_dogs(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<annotation>",
        "<annotation></annotation>",
        "<?xml version='1.0' encoding='none'?><annotation></annotation>",
        "<annotation><object><name>x</name></object></annotation>",
        *(
            f"<annotation>{OBJECT.format(*corners)}</annotation>"
            for corners in (
                (1, 2, 1, 4),
                (3, 2, 1, 4),
                (1, 2, 3, 2),
                (1, "nan", 3, 4),
                (1, 2, 1e39, 4),
                (-3, 2, -1, 4),
                ("", 2, 3, 4),
            )
        ),
        f"<annotation>{OBJECT.format(1, 2, 'inf', 4)}</annotation>",
        f"<annotation>{OBJECT.format(1, 2, 'three', 4)}</annotation>",
    ],
)
def test_a_damaged_box_is_named(tmp_path, content):
    (write_boxes(write(tmp_path)) / "Annotation" / SHIH / "e").write_text(content)
    with pytest.raises(ValueError, match=rf"(?s)Annotation/{SHIH}/e .*bndbox.*annotation\.tar"):
        read_dogs(tmp_path)


def test_an_absent_box_is_named(tmp_path):
    (write_boxes(write(tmp_path)) / "Annotation" / SHIH / "e").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no e in .*{SHIH}\. Restore .*annotation\.tar"):
        read_dogs(tmp_path)


def test_the_full_set_has_its_official_size(tmp_path):
    rows = {
        path: [(f"n{label:03d}-Dog/{path}.jpg", label) for label in range(1, 121)]
        for path in (TRAIN, TEST)
    }
    message = "lists 120 training and 120 test images of 120 classes: expected 12000 and 8580"
    with pytest.raises(ValueError, match=message):
        read_dogs(write(tmp_path, rows))
    rows = {path: entries[:119] for path, entries in rows.items()}
    assert read_dogs(write(tmp_path, rows)).official is None


@pytest.mark.skipif(not LISTS.is_dir(), reason=f"{LISTS} is not here")
def test_the_real_lists_of_the_full_set(tmp_path):
    lists = read_dogs(LISTS)
    assert lists.official == (12000, 8580) == (len(lists.train), len(lists.test))
    assert len(set(lists.class_names)) == 120
    assert lists.class_names[:2] == ("Chihuahua", "Japanese spaniel")
    assert (lists.class_names[4], lists.class_names[119]) == ("Shih-Tzu", "African hunting dog")
    assert set(np.bincount(lists.train.labels)) == {100}  # as the README says
    whole = scipy.io.loadmat(LISTS / "file_list.mat", squeeze_me=True)  # of both splits
    expected = dict(zip(whole["file_list"], whole["labels"] - 1, strict=True))
    names, labels = lists.train.names + lists.test.names, lists.train.labels + lists.test.labels
    assert dict(zip(names, labels, strict=True)) == expected
    with pytest.raises(FileNotFoundError, match="20580 of 20580 images of dogs"):
        photo_dataset(lists)


@pytest.mark.skipif(not FAKES.is_dir(), reason=f"{FAKES} is not here")
def test_real_boxes(tmp_path):
    """Eleven real XML files, beside images of the sizes that they name."""
    shutil.copytree(FAKES / "Annotation.tar", tmp_path / "Annotation")
    (tmp_path / "Images").symlink_to(FAKES / "Images")
    images = sorted((FAKES / "Images").rglob("*.jpg"))
    folders = sorted({path.parent.name for path in images})
    entries = [
        (f"{path.parent.name}/{path.name}", folders.index(path.parent.name) + 1) for path in images
    ]
    data = photo_dataset(read_dogs(write(tmp_path, {TRAIN: entries[:6], TEST: entries[6:]})))
    assert (len(data.train), len(data.test)) == (6, 5)
    chihuahua = data.train[data.train.names.index("n02085620-Chihuahua/n02085620_2650.jpg")]
    np.testing.assert_array_equal(chihuahua.box, [87, 108, 303, 405])
    for image, _, (top, left, bottom, right) in (*data.train, *data.test):
        assert 0 <= top < bottom <= image.shape[0]
        assert 0 <= left < right <= image.shape[1]
