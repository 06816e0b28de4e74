"""CSV files that list photos: what spreadsheets make of them, damaged ones, and writing them."""

import csv
import errno
import gzip
import io
import os
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from aftrans_jax.data.doctor.examine import examine
from aftrans_jax.data.doctor.findings import problems
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.csv_list import read_csv, write_csv
from aftrans_jax.data.sets.files import find_files
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.data.sets.named_classes import SPLIT_NAMES

FEW = settings(deadline=None, max_examples=25)
HEADER = "path,label,split"
ROWS = ("b/é鸟.png,wren,train", "a.png,wren,test", "c d.png,Owl,train", "b/e.png,Owl,Test")


def plant(folder, *lines):
    (folder / "list.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / "list.csv"


def check(lists):
    assert (lists.name, lists.official, lists.class_names) == ("csv", None, ("Owl", "wren"))
    assert (lists.train.names, lists.train.labels) == (("b/é鸟.png", "c d.png"), (1, 0))
    assert (lists.test.names, lists.test.labels) == (("a.png", "b/e.png"), (1, 0))


def test_a_tiny_copy_end_to_end(tmp_path):
    (tmp_path / "b").mkdir()
    for number, row in enumerate(ROWS):
        Image.new("RGB", (8, 6), (20 * number, 0, 0)).save(tmp_path / row.split(",")[0])
    lists = read_csv(str(plant(tmp_path, HEADER, *ROWS)))
    check(lists)
    dataset = photo_dataset(lists)
    image, label, box = dataset.test[1]
    np.testing.assert_array_equal(image, np.full((6, 8, 3), [60, 0, 0]))
    assert (dataset.class_names[label], np.isnan(box).all()) == ("Owl", True)
    (tmp_path / "b" / "e.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 4 images of csv .*first: b/e\.png.*--write=/.*clean\.csv$"
    ):
        photo_dataset(read_csv(tmp_path / "list.csv"))


def test_a_list_in_another_folder_than_its_paths_start_at_is_told_to_move(tmp_path):
    """Such as a list beside the images' folder."""
    lists = read_csv(plant(tmp_path, HEADER, *ROWS))
    remedy = (
        f"Paths start at {tmp_path}, the folder of the CSV file: move it to where its paths start, "
        "or correct them."
    )
    with pytest.raises(FileNotFoundError) as caught:
        photo_dataset(lists)
    assert str(caught.value).endswith(f"every listed image. {remedy}")
    assert problems(examine(lists, tiny_px=4, num_threads=1))[0].endswith(remedy)


@pytest.mark.parametrize("code", ["cp1252", "mac_roman"])
def test_a_list_that_is_not_utf_8_is_told_how_to_be_saved(tmp_path, code):
    """Excel's plain CSV: classes got names such as `Zaunk\\udcf6nig` without a word."""
    path = tmp_path / "list.csv"
    path.write_bytes("\n".join([HEADER, "a/1.jpg,Zaunkönig,train"]).encode(code))
    with pytest.raises(
        ValueError, match=r"row 2: 'a/1.jpg,Zaunk\\udc.*UTF-8.* save it as 'CSV UTF-8'"
    ):
        read_csv(path)
    names = ["Zaunkönig", "Amsel"]
    rows = [f"{name}/{i}.jpg,{name},{('train', 'test')[i]}" for name in names for i in range(2)]
    path.write_bytes("\n".join([HEADER, *rows]).encode(code))
    with pytest.raises(FileNotFoundError, match=r"every listed image.* save it as 'CSV UTF-8'"):
        photo_dataset(read_csv(path))
    for row in rows:  # on a disk of that encoding the list is right
        photo = os.path.join(os.fsencode(tmp_path), row.split(",")[0].encode(code))
        os.makedirs(os.path.dirname(photo), exist_ok=True)
        Path(os.fsdecode(photo)).touch()
    assert len(photo_dataset(read_csv(path)).train) == 2


SPACES = st.text(" ", max_size=2)
BLANKS = st.lists(st.sampled_from(["", " ", ",,", '"",'])).map(tuple)


@FEW
@given(data=st.data())
def test_order_spaces_quotes_case_and_line_ends_mean_nothing(data):
    order = data.draw(st.permutations([0, 1, 2]))
    lines = []
    for row in (HEADER, *data.draw(st.permutations(ROWS))):
        fields = [row.split(",")[column] for column in order]
        if row == HEADER:
            fields = [data.draw(st.sampled_from([f, f.upper(), f.title()])) for f in fields]
        fields = [
            data.draw(SPACES) + data.draw(st.sampled_from([f + data.draw(SPACES), f'"{f}"']))
            for f in fields
        ]
        lines += [*data.draw(BLANKS), ",".join(fields)]
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    start = data.draw(st.sampled_from(["", "\ufeff"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_bytes((start + end.join([*lines, *data.draw(BLANKS)])).encode())
        check(read_csv(path))


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", ["path,label,split", "Label,PATH,split"])
@pytest.mark.parametrize("above", ["", "sep=,"])
def test_semicolons_and_tabs_separate_as_commas_do(tmp_path, separator, encoding, header, above):
    """As from spreadsheets with decimal commas, and as "Unicode text"."""
    rows = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for row in ROWS]
    columns = header.split(",")
    lines = [above, header, *(",".join(row[name.lower()] for name in columns) for row in rows)]
    text = "\r\n".join(lines).replace(",", separator)
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    check(read_csv(tmp_path / "list.csv"))
    plant(tmp_path, *[line.replace(",", ";") for line in (*lines, "a;b")])
    with pytest.raises(ValueError, match=r"row 7: 'a;b': expected 3 fields .* if they hold ';'"):
        read_csv(tmp_path / "list.csv")


def test_a_comma_in_a_class_is_no_separator(tmp_path):
    rows = [f"{row.split(',')[0]};A, B;{row.split(',')[2]}" for row in ROWS]
    rows += ["x.png;Kite, black;train"]
    lists = read_csv(plant(tmp_path, "path;label;split", *rows))
    assert lists.class_names == ("A, B", "Kite, black")


def test_an_absolute_path_below_the_folder_of_the_list_is_taken(tmp_path, monkeypatch):
    check(read_csv(plant(tmp_path, HEADER, *(f"{tmp_path}/{row}" for row in ROWS))))
    monkeypatch.chdir(tmp_path)
    check(read_csv("list.csv"))
    plant(tmp_path, HEADER, *ROWS, "../x.png,wren,train")
    message = f"expected a path inside the folder of the CSV file, '{tmp_path}', best relative"
    with pytest.raises(ValueError, match=message):
        read_csv("list.csv")


def test_slashes_of_both_kinds_and_dots_name_the_same_image(tmp_path):
    lists = read_csv(
        plant(tmp_path, HEADER, r"b\é鸟.png,wren,train", "./c d.png,Owl,train", *ROWS[1:2])
    )
    assert lists.train.names == ("b/é鸟.png", "c d.png")


@pytest.mark.parametrize("name", sorted(SPLIT_NAMES))
def test_splits_have_several_names(tmp_path, name):
    other = "test" if SPLIT_NAMES[name] == "train" else "Train"
    rows = [f"{n}{label}.jpg,{label},{n}" for n in (name.title(), other) for label in "ab"]
    lists = read_csv(plant(tmp_path, HEADER, *rows))
    assert name in ("train", "training", "test", "testing", "val", "valid", "validation")
    taught = lists.train if name.startswith("train") else lists.test
    assert taught.names == (f"{name.title()}a.jpg", f"{name.title()}b.jpg")


def test_without_splits_a_share_of_each_class_is_held_out_as_in_folders(tmp_path):
    names = [f"{label}/{number}.png" for label in ("1", "10", "9") for number in range(8)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / name)
    assert find_files(tmp_path).photos == tuple(sorted(names))
    path = plant(tmp_path, "label,path", *(f"{name.split('/')[0]},{name}" for name in names[::-1]))
    lists = read_csv(path, test_fraction=0.25, seed=7)
    assert lists.class_names == ("1", "9", "10")
    assert {*lists.test.labels} == {0, 1, 2}
    same = read_folder(tmp_path, test_fraction=0.25, seed=7)
    assert (same.test.names, same.test.labels) == (lists.test.names, lists.test.labels)
    assert (same.train.names, same.train.labels) == (lists.train.names, lists.train.labels)
    assert read_csv(path, test_fraction=0.25, seed=8).test.names != lists.test.names


def test_further_columns_mean_nothing_beside_a_split(tmp_path):
    rows = [f"{number},{row},0.5" for number, row in enumerate(ROWS)]
    check(read_csv(plant(tmp_path, f",{HEADER},score", *rows)))


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        ("file,class,split", r"missing: \['path', 'label'\]; unknown: \['file', 'class'\]"),
        ("file;class;split", r"unknown: \['file;class;split'\]"),
        ("path,label,spilt", r"tabs; unknown: \['spilt'\]"),
        ("path,label,", r"tabs; unknown: \[''\]"),
        ("path,path,label", r"tabs; more than once: \['path'\]\."),
        ("path,label,split,split", r"tabs; more than once: \['split'\]\."),
        ("label,split", r"tabs; missing: \['path'\]\."),
        (ROWS[0], r"unknown: \['b/é鸟.png', 'wren', 'train'\]"),
    ],
)
def test_a_header_that_lacks_something_is_refused(tmp_path, header, wrong):
    path = plant(tmp_path, "", header, *ROWS)
    message = rf"list\.csv, row 2: '{header}': expected a header .*{wrong}.*Rename the"
    with pytest.raises(ValueError, match=message):
        read_csv(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x.png,wren", "expected 3 fields as in the header"),
        ("x.png,wren, the small,train", "expected 3 fields .*in quotes if they hold ','"),
        ("x.png", "expected 3 fields"),
        (",wren,train", "expected a path inside"),
        ("x.png,,train", "expected the name of a class"),
        ("x.png,wren,", "expected one of the splits train, .*test, .*val"),
        ("x.png,wren,1", "expected one of the splits"),
        ("../x.png,wren,train", "expected a path inside"),
        (r"b\..\..\x.png,wren,train", "expected a path inside"),
        ("/etc/x.png,wren,train", "expected a path inside"),
        (r"C:\x.png,wren,train", "expected a path inside"),
        ("x\0.png,wren,train", "expected a path inside"),
        ('x.png,"wren,train', "expected quotes around whole fields"),
        ('x.png,"wren"s,train', "expected quotes around whole fields"),
    ],
)
def test_a_broken_row_is_named(tmp_path, row, message):
    path = plant(tmp_path, HEADER, '"b/n.png","two\nlines",train', *ROWS, "", row)
    with pytest.raises(ValueError, match=rf"list\.csv, row 9: .*{message}.*path,label,split"):
        read_csv(path)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a.png,wren,train", "row 3 has it too. Remove"),
        (r".\b\n.png,Owl,train", "row 2 has it too with the label 'wren'. Remove"),
    ],
)
def test_a_path_that_is_there_twice_is_told_with_both_rows(tmp_path, row, told):
    path = plant(tmp_path, HEADER, "b/n.png,wren,train", "a.png,wren,train", "c.png,owl,test", row)
    with pytest.raises(ValueError, match=rf"row 5: .*expected each path once, but {told} one of"):
        read_csv(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "list.csv is empty: expected a header"),
        ((HEADER,), r"has 0 images of 0 classes \[\]: expected two"),
        ((HEADER, "a.png,wren,train", "b.png,wren,test"), r"1 class \['wren'\]: expected two"),
        ((HEADER, *ROWS[::2]), r"splits \['train'\]: expected one"),
        ((HEADER, *ROWS, "z.png,Kite,test"), "1 class without training images, .*'Kite'"),
        (
            (HEADER, *ROWS, "z.png,wren ,train", "y.png,WREN,test"),
            "without training images, .*'WREN'",
        ),
        (("path,label", "a.png,wren", "b.png,Owl"), "no class has two examples"),
    ],
)
def test_a_file_that_lists_too_little_is_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_csv(plant(tmp_path, *lines))


def test_what_is_no_csv_file_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"is a folder: expected a CSV.*--config\.data\.name=folder"
    ):
        read_csv(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no list\.csv in .*path,label,split"):
        read_csv(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_bytes(HEADER.encode("utf-16")[:-1])
    with pytest.raises(ValueError, match=r"list\.csv is not UTF-8"):
        read_csv(tmp_path / "list.csv")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_text_without_its_mark_is_told_how_to_be_saved(tmp_path, encoding):
    (tmp_path / "list.csv").write_bytes("\n".join([HEADER, *ROWS]).encode(encoding))
    with pytest.raises(ValueError, match=r"list\.csv is no text: save it as 'CSV UTF-8'. Write"):
        read_csv(tmp_path / "list.csv")


def test_what_is_no_text_is_not_shown(tmp_path):
    text = "\n".join([HEADER, *ROWS]).encode()
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr("sheet1.xml", text)
    (tmp_path / "list.gz").write_bytes(gzip.compress(text))
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.jpg")
    for name in ("book.xlsx", "list.gz", "photo.jpg"):
        with pytest.raises(ValueError, match=f"{name} is no text: save it as 'CSV UTF-8'"):
            read_csv(tmp_path / name)
    (tmp_path / "list.csv").write_text(",".join(f"{number}" for number in range(9999)))
    with pytest.raises(
        ValueError, match=r"row 1: '0,1,2,.*\.\.\.: expected .*Rename the"
    ) as caught:
        read_csv(tmp_path / "list.csv")
    assert len(str(caught.value)) < 900


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1)
NAMES = TEXT.map(lambda text: unicodedata.normalize("NFC", text).strip()).filter(bool)
CLASSES = st.lists(NAMES, min_size=2, max_size=5, unique=True)


@FEW
@given(class_names=CLASSES, data=st.data())
@example(class_names=['a,"b"\n,', "'", "\x00\u2028\x85x", "=1+1", "\ufeff", "#"], data=None)
def test_what_is_written_is_read_back(class_names, data):
    rows = [
        (f'{split}/{name} {index}, {{}}\n".jpg', class_name, split)
        for index, class_name in enumerate(class_names)
        for split, name in (("train", "é"), ("train", "ß"), ("test", "x"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        path.write_text("an older file")
        write_csv(path, iter(data.draw(st.permutations(rows)) if data else rows))
        assert [entry.name for entry in Path(folder).iterdir()] == ["list.csv"]
        lists = read_csv(path)
    read = {
        (name, lists.class_names[label], split)
        for split, examples in (("train", lists.train), ("test", lists.test))
        for name, label in zip(examples.names, examples.labels, strict=True)
    }
    assert read == set(rows)
    assert len(lists.train) + len(lists.test) == len(rows)


def test_the_file_is_as_spreadsheets_expect(tmp_path):
    rows = [("a/ä.jpg", 'say "wren", or', "train"), ("b.jpg", "two\nlines", "test")]
    write_csv(tmp_path / "list.csv", rows)
    text = (tmp_path / "list.csv").read_bytes().decode("utf-8")
    assert text.startswith('path,label,split\na/ä.jpg,"say ""wren"", or",train\n')
    assert [tuple(row) for row in csv.reader(io.StringIO(text))][1:] == rows


def test_a_full_disk_leaves_an_older_file_alone_and_is_named(tmp_path, monkeypatch):
    """The temporary file was left, and errors named none."""
    path = tmp_path / "list.csv"
    path.write_text("an older file")

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        write_csv(path, [("a.jpg", "wren", "train"), ("b.jpg", "wren", "test")])
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [
        ("list.csv", "an older file")
    ]


@pytest.mark.parametrize(
    "row",
    [
        ("../a.jpg", "wren", "train"),
        ("/a.jpg", "wren", "train"),
        (r"b\a.jpg", "wren", "train"),
        ("b//a.jpg", "wren", "train"),
        (" a.jpg", "wren", "train"),
        ("", "wren", "train"),
        ("a.jpg", "wren ", "train"),
        ("a.jpg", "\u00a0wren", "train"),
        ("a.jpg", "wr\ren", "train"),
        ("a.jpg", "", "train"),
        ("a.jpg", "wren", ""),
        ("a.jpg", "Zaunk\udcf6nig", "train"),
        ("a.jpg", "wren", "fold 1"),
    ],
)
def test_what_would_not_be_read_back_is_not_written(tmp_path, row):
    (tmp_path / "list.csv").write_text("an older file")
    with pytest.raises(ValueError, match=r"list\.csv: .*: expected .*Rename"):
        write_csv(tmp_path / "list.csv", [("b.jpg", "wren", "test"), row])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "list.csv": "an older file"
    }
