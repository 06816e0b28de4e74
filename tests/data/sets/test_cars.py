"""The Cars reader: tiny copies in both layouts, every way to break them, the real lists."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mat_files import NOT_MAT_FILES, save, save_images, struct
from places import REAL

from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.cars import read_cars

FEW = settings(deadline=None, max_examples=25)
LISTS = REAL / "annotations" / "stanford_cars"
CLASSES = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]
ONE, META, TRAIN = "cars_annos.mat", "devkit/cars_meta.mat", "devkit/cars_train_annos.mat"
UNLABELLED, LABELLED = "devkit/cars_test_annos.mat", "cars_test_annos_withlabels.mat"
DEVKIT_LAYOUT, ONE_LAYOUT = (META, TRAIN, LABELLED), (ONE,)
both_layouts = pytest.mark.parametrize("layout", [DEVKIT_LAYOUT, ONE_LAYOUT], ids=["devkit", "one"])


def row(name, label, *corners, **test):
    """An entry with its fields in the order of the official file; `test` is in one layout only."""
    fields = dict(zip(("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"), corners, strict=True))
    field = "relative_im_path" if test else "fname"
    return {**fields, "class": label, field: name, **test}


# Of the same four images under the names of either layout, in an order that is not theirs.
ROWS = {
    TRAIN: [row("00002.jpg", 1, 1, 1, 8, 6), row("é鸟.jpg", 2, 2, 3, 4, 5)],
    LABELLED: [row("00002.jpg", 2, 3, 1, 3, 1), row("00001.jpg", 1, 1, 2, 7, 6)],
    ONE: [
        row("car_ims/000004.jpg", 2, 3, 1, 3, 1, test=1),
        row("car_ims/000001.jpg", 1, 1, 1, 8, 6, test=0),
        row("car_ims/000003.jpg", 1, 1, 2, 7, 6, test=1),
        row("car_ims/é鸟.jpg", 2, 2, 3, 4, 5, test=0),
    ],
}
IMAGES = {
    DEVKIT_LAYOUT: [
        *("cars_train/00002.jpg", "cars_train/é鸟.jpg"),
        *("cars_test/00001.jpg", "cars_test/00002.jpg"),
    ],
    ONE_LAYOUT: [f"car_ims/{name}.jpg" for name in ("000001", "é鸟", "000003", "000004")],
}


def write(root, layout, rows=ROWS, class_names=CLASSES):
    names = np.array(class_names, object)
    for path in layout:
        variables = {} if path == META else {"annotations": struct(rows[path])}
        save(
            root / path,
            **variables,
            **({} if path in (TRAIN, LABELLED) else {"class_names": names}),
        )
    return root


def replaced(path, number, **fields):
    rows = [dict(entry) for entry in ROWS[path]]
    rows[number] |= fields
    return {**ROWS, path: rows}


def check(lists, layout):
    assert (lists.name, lists.official, lists.class_names) == ("cars", None, tuple(CLASSES))
    assert [*lists.train.names, *lists.test.names] == IMAGES[layout]
    assert (lists.train.labels, lists.test.labels) == ((0, 1), (0, 1))
    # x1 y1 x2 y2, from 1 and within -> top left bottom right, from 0 and half-open
    np.testing.assert_array_equal(lists.train.boxes, [[0, 0, 6, 8], [2, 1, 5, 4]])
    np.testing.assert_array_equal(lists.test.boxes, [[1, 0, 6, 7], [0, 2, 1, 3]])


@both_layouts
def test_a_tiny_copy_end_to_end(tmp_path, layout):
    root = write(tmp_path / "stanford_cars", layout)
    save_images(root, IMAGES[layout])
    check(read_cars(root), layout)
    name, train, test, class_names, _ = photo_dataset(read_cars(str(tmp_path)))
    assert (name, len(train), len(test), class_names) == ("cars", 2, 2, tuple(CLASSES))
    image, label, box = test[1]
    assert (image.shape, label, box.dtype) == ((6, 8, 3), 1, np.float32)
    assert abs(int(image[0, 0, 0]) - 30) <= 2
    np.testing.assert_array_equal(box, [0, 2, 1, 3])
    (root / IMAGES[layout][2]).unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of 4 images of cars .*{IMAGES[layout][2]}"):
        photo_dataset(read_cars(root))


@both_layouts
@FEW
@given(data=st.data())
def test_row_order_and_number_types_mean_nothing(layout, data):
    number = data.draw(st.sampled_from([int, float, np.uint16, np.int64, np.float32]))
    rows = {
        path: [
            {
                key: value if isinstance(value, str) else number(value)
                for key, value in entry.items()
            }
            for entry in data.draw(st.permutations(entries))
        ]
        for path, entries in ROWS.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        check(read_cars(write(Path(folder), layout, rows)), layout)


@pytest.mark.parametrize(
    ("folders", "layout"),
    [
        ((), DEVKIT_LAYOUT),
        (("cars_train", "cars_test"), DEVKIT_LAYOUT),
        (("car_ims",), ONE_LAYOUT),
        (("car_ims", "cars_train", "cars_test"), ONE_LAYOUT),
    ],
)
def test_the_images_choose_the_layout_where_both_have_lists(tmp_path, folders, layout):
    write(tmp_path, (*DEVKIT_LAYOUT, *ONE_LAYOUT))
    for folder in folders:
        (tmp_path / folder).mkdir()
    check(read_cars(tmp_path), layout)


def test_folders_nested_in_their_own_name_are_found(tmp_path):
    """Kaggle's archive has such folders."""
    write(tmp_path, DEVKIT_LAYOUT)
    for folder in ("cars_train", "cars_test"):
        (tmp_path / folder / folder).mkdir(parents=True)
    train, test = read_cars(tmp_path)[1:3]
    assert all(name.startswith("cars_train/cars_train/") for name in train.names)
    assert all(name.startswith("cars_test/cars_test/") for name in test.names)


def test_the_list_of_one_layout_never_names_images_of_the_other(tmp_path):
    write(tmp_path, ONE_LAYOUT)
    (tmp_path / "cars_train").mkdir()  # as some mirrors have it: their numbers do not match
    with pytest.raises(FileNotFoundError, match=r"no cars_meta\.mat in .*devkit.*mirrors"):
        read_cars(tmp_path)


def test_labels_of_the_test_images_are_a_file_of_their_own(tmp_path):
    write(tmp_path, DEVKIT_LAYOUT)
    (tmp_path / LABELLED).rename(tmp_path / "devkit" / LABELLED)
    check(read_cars(tmp_path), DEVKIT_LAYOUT)
    (tmp_path / "devkit" / LABELLED).unlink()
    unlabelled = [{k: v for k, v in entry.items() if k != "class"} for entry in ROWS[LABELLED]]
    save(tmp_path / UNLABELLED, annotations=struct(unlabelled))
    message = rf"no {LABELLED} in .* or .*devkit: .*cars_test_annos\.mat lacks the labels.*mirrors"
    with pytest.raises(FileNotFoundError, match=message):
        read_cars(tmp_path)
    (tmp_path / UNLABELLED).rename(tmp_path / LABELLED)  # which does not make it that file
    with pytest.raises(ValueError, match=rf"{LABELLED} has no class in annotations: expected"):
        read_cars(tmp_path)


NAME_FIELDS = {TRAIN: "fname", LABELLED: "fname", ONE: "relative_im_path"}
BAD_FIELDS = [
    *(("class", bad) for bad in (0, 3, float("nan"), float("inf"), 1.5, "1", "", [1, 2], [])),
    *(("bbox_x1", bad) for bad in (0, 9, float("nan"), 1.5)),
    *(("bbox_y2", bad) for bad in (-1, 0, 1e39, float("inf"))),
    ("bbox_y1", 0),
    *(
        ("name", bad)
        for bad in ("../a.jpg", "/etc/a.jpg", r"..\a.jpg", r"C:\a.jpg", "", " ", ".", 7, ["a", "b"])
    ),
]


@pytest.mark.parametrize("path", [TRAIN, ONE])  # the labels of the test images are read as TRAIN
@pytest.mark.parametrize(("field", "bad"), BAD_FIELDS)
def test_a_damaged_entry_is_named(tmp_path, path, field, bad):
    field = NAME_FIELDS[path] if field == "name" else field
    layout = ONE_LAYOUT if path == ONE else DEVKIT_LAYOUT
    with pytest.raises(ValueError, match=rf"{path}, row 2: .*: expected .*from 1 to 2.* mirrors"):
        read_cars(write(tmp_path, layout, replaced(path, 1, **{field: bad})))


@pytest.mark.parametrize("bad", [2, -1, float("nan"), "0"])
def test_the_test_flag_is_0_or_1(tmp_path, bad):
    with pytest.raises(ValueError, match=rf"{ONE}, row 3: .*expected .*0 or 1"):
        read_cars(write(tmp_path, ONE_LAYOUT, replaced(ONE, 2, test=bad)))


@pytest.mark.parametrize("path", NAME_FIELDS)
def test_an_image_that_is_there_twice_is_named(tmp_path, path):
    rows = {**ROWS, path: [*ROWS[path], ROWS[path][0]]}
    layout = ONE_LAYOUT if path == ONE else DEVKIT_LAYOUT
    name = "car_ims/000004" if path == ONE else "00002"
    last = len(rows[path])
    with pytest.raises(ValueError, match=rf"{path}, row {last}: .*{name}\.jpg.* once, but"):
        read_cars(write(tmp_path, layout, rows))


@pytest.mark.parametrize("path", NAME_FIELDS)
def test_a_missing_field_is_named(tmp_path, path):
    layout = ONE_LAYOUT if path == ONE else DEVKIT_LAYOUT
    for field in ROWS[path][0]:
        less = [{k: v for k, v in entry.items() if k != field} for entry in ROWS[path]]
        with pytest.raises(ValueError, match=rf"{path} has no {field} in annotations: expected"):
            read_cars(write(tmp_path, layout, {**ROWS, path: less}))
    save(tmp_path / path, class_names=np.array(CLASSES, object), annotations=np.arange(3))
    with pytest.raises(ValueError, match=rf"{path} has no class or .* in annotations: expected"):
        read_cars(tmp_path)


@both_layouts
def test_damaged_class_names_are_named(tmp_path, layout):
    path = ONE if layout == ONE_LAYOUT else META
    for names, message in (
        (["a", ""], ", row 2: .*a class name"),
        (["a", 7.0], ", row 2: '7.0'.*a class name"),
        (["a", "b", "a"], ", row 3: 'a': expected 'a' once"),
        (["a"], "row [12]: .*expected .*a class from 1 to 1"),  # more labels than names
    ):
        with pytest.raises(ValueError, match=message):
            read_cars(write(tmp_path, layout, class_names=names))
    save(tmp_path / path, annotations=struct(ROWS[ONE]))
    with pytest.raises(ValueError, match=rf"{path} has no class_names: expected class_names"):
        read_cars(tmp_path)


@both_layouts
def test_a_file_that_is_no_mat_file_is_named(tmp_path, layout):
    for path in layout:
        write(tmp_path, layout)
        for content in NOT_MAT_FILES:
            (tmp_path / path).write_bytes(content)
            with pytest.raises(ValueError, match=rf"{path} cannot be read .*expected .*mirrors"):
                read_cars(tmp_path)
        (tmp_path / path).unlink()
        with pytest.raises(FileNotFoundError, match=rf"no (devkit or )?{Path(path).name} (in|or)"):
            read_cars(tmp_path)


@FEW
@given(data=st.data())
def test_a_truncated_file_is_named(data):
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), DEVKIT_LAYOUT)
        path = data.draw(st.sampled_from(DEVKIT_LAYOUT))
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(ValueError, match=rf"{path} (cannot be read|has no) .*mirrors"):
            read_cars(root)


def test_an_empty_list_or_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no devkit or cars_annos\.mat in .*stanford_cars"):
        read_cars(tmp_path)
    only_test = {**ROWS, ONE: ROWS[ONE][::2]}
    with pytest.raises(ValueError, match="lists 0 training and 2 test images"):
        read_cars(write(tmp_path, ONE_LAYOUT, only_test))


@both_layouts
def test_the_full_set_has_its_official_size(tmp_path, layout):
    names = [f"Car {number}" for number in range(196)]
    message = "lists 2 training and 2 test images of 196 classes: expected 8144 and 8041"
    with pytest.raises(ValueError, match=message):
        read_cars(write(tmp_path, layout, class_names=names))


@pytest.fixture(scope="module")
def real_lists(tmp_path_factory):
    """The contents of the real lists in both layouts."""
    if not LISTS.is_dir():
        pytest.skip(f"{LISTS} is not here")
    alone = tmp_path_factory.mktemp("one")
    shutil.copy(LISTS / ONE, alone)
    return read_cars(LISTS), read_cars(alone)


def test_the_real_lists_of_the_full_set(real_lists):
    for lists in real_lists:
        assert lists.official == (8144, 8041) == (len(lists.train), len(lists.test))
        assert len(set(lists.class_names)) == 196
        assert lists.class_names[0] == "AM General Hummer SUV 2000"
        assert lists.class_names[195] == "smart fortwo Convertible 2012"
    devkit, one = real_lists
    assert (devkit.train.names[0], devkit.test.names[0]) == (
        "cars_train/00001.jpg",
        "cars_test/00001.jpg",
    )
    assert (one.train.names[0], one.test.names[-1]) == ("car_ims/000001.jpg", "car_ims/016185.jpg")
    assert devkit.class_names[devkit.train.labels[0]] == "Audi TTS Coupe 2012"
    assert devkit.class_names[devkit.test.labels[0]] == "Suzuki Aerio Sedan 2007"
    np.testing.assert_array_equal(devkit.train.boxes[0], [115, 38, 375, 569])  # 39 116 569 375
    predictions = (LISTS / "devkit" / "train_perfect_preds.txt").read_text().split()
    assert [label + 1 for label in devkit.train.labels] == [int(line) for line in predictions]
    with pytest.raises(FileNotFoundError, match="16185 of 16185 images of cars"):
        photo_dataset(devkit)


def test_the_real_layouts_describe_the_same_images(real_lists):
    devkit, one = real_lists
    assert devkit.class_names == one.class_names
    for split in ("train", "test"):
        images = [
            Counter(zip(table.labels, map(tuple, table.boxes.tolist()), strict=True))
            for table in (getattr(devkit, split), getattr(one, split))
        ]
        assert images[0] == images[1]
