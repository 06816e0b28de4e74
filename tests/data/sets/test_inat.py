"""The iNaturalist 2017 reader: tiny copies in the official format, and every way to break them."""

import copy
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import REAL

from aftrans_jax.data.sets import inat
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.inat import read_inat2017

FEW = settings(deadline=None, max_examples=25)
EXAMPLES = REAL / "annotations" / "tfds_fake_examples"
README = EXAMPLES / "i_naturalist2017_official_format" / "README.md"
REMEDY = r"Restore the file from https://ml-inat-competition-datasets\.s3\S+/train_val2017\.zip\.$"

BIRD, RAVEN = "train_val_images/Aves/Ara ararauna/a b.jpg", "train_val_images/Aves/Corvus corax"
FUNGUS = "train_val_images/Fungi/Amanita muscaria/é鸟.jpg"
CATEGORIES = [
    {"id": 40, "name": "Corvus corax", "supercategory": "Aves"},
    {"id": 7, "name": "Amanita muscaria", "supercategory": "Fungi"},
    {"id": 3, "name": "Ara ararauna", "supercategory": "Aves"},
]
# Neither ids nor positions of annotations are those of their images: joining by position fails.
TRAIN = {
    "images": [{"id": 12, "file_name": BIRD}, {"id": 5, "file_name": f"{RAVEN}/c.jpg"}],
    "annotations": [
        {"id": 12, "image_id": 5, "category_id": 40},
        {"id": 5, "image_id": 12, "category_id": 3},
    ],
    "categories": CATEGORIES,
}
VAL = {
    "images": [{"id": 5, "file_name": FUNGUS}, {"id": 90, "file_name": f"{RAVEN}/d.jpg"}],
    "annotations": [
        {"id": 1, "image_id": 90, "category_id": 40},
        {"id": 2, "image_id": 5, "category_id": 7},
    ],
    "categories": CATEGORIES[::-1],
}
LABELS = {BIRD: 0, f"{RAVEN}/c.jpg": 2}, {FUNGUS: 1, f"{RAVEN}/d.jpg": 2}
FIELDS = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
    "categories": {"id": int, "name": str, "supercategory": str},
}


def write(root, train=TRAIN, val=VAL):
    """Writes the lists; text is written as it is."""
    for name, lists in (("train2017.json", train), ("val2017.json", val)):
        text = lists if isinstance(lists, str) else json.dumps(lists)
        (root / name).write_text(text, encoding="utf-8")
    return root


def labels(lists):
    return tuple(dict(zip(split.names, split.labels, strict=True)) for split in lists[1:3])


def test_classes_of_one_name_are_told_apart(tmp_path):
    """As a plant and an animal may have the same."""
    fungus = [CATEGORIES[0], CATEGORIES[1] | {"name": "Ara ararauna"}, CATEGORIES[2]]
    lists = write(tmp_path, TRAIN | {"categories": fungus}, VAL | {"categories": fungus})
    assert read_inat2017(lists).class_names == (
        "Ara ararauna (3)",
        "Ara ararauna (7)",
        "Corvus corax",
    )
    assert read_inat2017(lists, supercategory="Aves").class_names == (
        "Ara ararauna",
        "Corvus corax",
    )


@pytest.mark.parametrize("nested", ["", "train_val2017"])
def test_a_tiny_copy_end_to_end(tmp_path, nested):
    for level, name in enumerate([*LABELS[0], *LABELS[1]]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (20 * level, 0, 0)).save(tmp_path / name, quality=100)
    (tmp_path / nested).mkdir(exist_ok=True)
    write(tmp_path / nested)
    name, train, test, class_names, _ = photo_dataset(read_inat2017(str(tmp_path)))
    assert (name, len(train), len(test)) == ("inat17", 2, 2)
    assert class_names == ("Ara ararauna", "Amanita muscaria", "Corvus corax")  # ids 3, 7, 40
    image, label, box = test[test.names.index(FUNGUS)]
    assert (image.shape, label, box.dtype) == ((6, 8, 3), 1, np.float32)
    assert abs(int(image[0, 0, 0]) - 40) <= 2
    assert np.isnan(box).all()
    (tmp_path / FUNGUS).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images of inat17.*é鸟.*data\.dir"):
        photo_dataset(read_inat2017(tmp_path))


def test_a_super_category_is_a_data_set_of_its_own(tmp_path):
    lists = read_inat2017(write(tmp_path), supercategory="Aves")
    assert lists.class_names == ("Ara ararauna", "Corvus corax")
    assert labels(lists) == ({BIRD: 0, f"{RAVEN}/c.jpg": 1}, {f"{RAVEN}/d.jpg": 1})
    with pytest.raises(ValueError, match=r"'aves': expected one of Aves, Fungi\. Choose one"):
        read_inat2017(tmp_path, supercategory="aves")
    with pytest.raises(ValueError, match="0 training and 1 test images: expected at least one"):
        read_inat2017(tmp_path, supercategory="Fungi")


@FEW
@given(data=st.data())
def test_ids_join_whatever_their_order_and_the_other_fields(data):
    """The truth is drawn first, lists are made of it, and its labels are counted ranks."""
    ids = st.integers(-5, 2**40)
    classes = data.draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    folder = st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1)
    names = data.draw(st.lists(folder, min_size=2, max_size=8, unique=True))
    paths = [f"train_val_images/A/{name}.jpg" for name in names]
    truth = {path: data.draw(st.sampled_from(classes)) for path in paths}
    splits = paths[:1], paths[1:]
    files = []
    for split in splits:
        keys = data.draw(st.lists(ids, min_size=len(split), max_size=len(split), unique=True))
        images = [{"file_name": p, "id": k, "width": 8} for p, k in zip(split, keys, strict=True)]
        notes = [{"category_id": truth[p], "image_id": k} for p, k in zip(split, keys, strict=True)]
        kinds = [{"id": c, "name": f"n{c}", "supercategory": "A", "x": None} for c in classes]
        tables = {"info": {}, "images": images, "annotations": notes, "categories": kinds}
        shuffled = {
            key: data.draw(st.permutations(value)) if value else value
            for key, value in tables.items()
        }
        indent, ascii_only = data.draw(st.sampled_from([None, 2])), data.draw(st.booleans())
        files.append(json.dumps(shuffled, indent=indent, ensure_ascii=ascii_only))
    with tempfile.TemporaryDirectory() as directory:
        lists = read_inat2017(write(Path(directory), *files))
    assert labels(lists) == tuple(
        {path: sum(other < truth[path] for other in classes) for path in split} for split in splits
    )
    assert lists.class_names == tuple(f"n{key}" for key in sorted(classes))


def wrong_entries(entry, fields):
    """Yields the entry with each of its fields absent or of a wrong type, and what is no entry."""
    for field, kind in fields.items():
        yield {key: value for key, value in entry.items() if key != field}
        for value in (None, True, 1.0, [], {}, "1" if kind is int else 1):
            yield {**entry, field: value}
    yield from (None, True, 1, "id", ["id"], {})


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_entry_is_named(tmp_path, name, number):
    before, after = TRAIN[name][:number], TRAIN[name][number + 1 :]
    for wrong in wrong_entries(TRAIN[name][number], FIELDS[name]):
        message = rf"train2017\.json, {name}\[{number}\]: .*: expected \w+ \(int\), .*{REMEDY}"
        with pytest.raises(ValueError, match=message):
            read_inat2017(write(tmp_path, train={**TRAIN, name: [*before, wrong, *after]}))
    twice = [*TRAIN[name], TRAIN[name][number]]
    with pytest.raises(ValueError, match=rf"{name}\[{len(twice) - 1}\]: .* each \w+ once"):
        read_inat2017(write(tmp_path, train={**TRAIN, name: twice}))


@FEW
@given(stop=st.integers(0, len(json.dumps(VAL)) - 1), number=st.sampled_from(["NaN", "-Infinity"]))
def test_damaged_json_is_named(stop, number):
    whole = json.dumps(VAL)
    with tempfile.TemporaryDirectory() as directory:
        for text in (whole[:stop], whole.replace("90", number)):
            with pytest.raises(ValueError, match=rf"val2017\.json is damaged: .*{REMEDY}"):
                read_inat2017(write(Path(directory), val=text))


def edited(lists, name, change):
    return {**lists, name: change(copy.deepcopy(lists[name]))}


def renamed(file_name):
    return edited(
        TRAIN, "images", lambda images: [*images[1:], {**images[0], "file_name": file_name}]
    )


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("[]", "is a list: expected an object"),
        ("[" * 100_000, "is damaged: .*recursion"),
        ({**TRAIN, "images": {}}, "no list 'images'"),
        ({"images": [], "categories": []}, "no list 'annotations'"),
        (
            edited(TRAIN, "annotations", lambda rows: [{**rows[0], "image_id": 6}, rows[1]]),
            r"1 annotations is no image's id, the first: \[6\], and 1 images .* \[5\]",
        ),
        (edited(TRAIN, "annotations", lambda rows: rows[1:]), r"of 0 .* and 1 images .* \[5\]"),
        (edited(TRAIN, "images", lambda rows: rows[1:]), r"of 1 .* \[12\], and 0 images"),
        (
            edited(TRAIN, "annotations", lambda rows: [{**rows[0], "category_id": 4}, rows[1]]),
            "image_id=5, category_id=4.* is of no category: .*one of the 3 categories",
        ),
        (edited(TRAIN, "categories", lambda rows: rows[:2]), "category_id=3.* is of no category"),
        (
            edited(TRAIN, "categories", lambda rows: [*rows[:2], {**rows[2], "name": "Ara"}]),
            "category 3 is .*'Ara'.* in train2017.json but .*'Ara ararauna'.* in val2017.json",
        ),
        (
            edited(TRAIN, "categories", lambda rows: [*rows, {**rows[0], "id": 41}]),
            "category 41 is .*'Corvus corax'.* in train2017.json but None in val2017.json",
        ),
        (renamed(FUNGUS), f"1 image listed twice, the first: '{FUNGUS}'"),
        *(
            (renamed(name), r"train2017\.json: .*id=12, file_name=.*: expected a path in train_val")
            for name in (
                "",
                "train_val_images",
                "train_val_images/../../etc/x.jpg",
                r"train_val_images\..\x.jpg",
                "/train_val_images/x.jpg",
                "C:/train_val_images/x.jpg",
                "train_val_images/x\0.jpg",
                "other/x.jpg",
            )
        ),
    ],
)
def test_lists_that_disagree_are_refused(tmp_path, train, message):
    with pytest.raises(ValueError, match=rf"{message}.*{REMEDY}"):
        read_inat2017(write(tmp_path, train=train))


def test_absent_and_undecodable_files_are_named(tmp_path):
    (write(tmp_path) / "val2017.json").write_bytes(b'{"images": "\xe9"}')
    with pytest.raises(ValueError, match=r"val2017\.json is not UTF-8"):
        read_inat2017(tmp_path)
    (tmp_path / "val2017.json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no val2017\.json in .*{REMEDY}"):
        read_inat2017(tmp_path)
    (tmp_path / "train2017.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no train2017\.json in .*Set data\.dir to .*zip"):
        read_inat2017(tmp_path)


def test_all_categories_mean_the_official_numbers(tmp_path, monkeypatch):
    kinds = [{"id": k, "name": f"n{k}", "supercategory": "A"} for k in range(5089)]
    with pytest.raises(ValueError, match=r"1 training and 1 .*: expected 579184 and 95986\."):
        read_inat2017(
            write(
                tmp_path,
                *(
                    {
                        "images": [{"id": 1, "file_name": f"train_val_images/{split}.jpg"}],
                        "annotations": [{"image_id": 1, "category_id": 0}],
                        "categories": kinds,
                    }
                    for split in "ab"
                ),
            )
        )
    monkeypatch.setattr(inat, "_OFFICIAL", {3: (2, 2)})
    assert read_inat2017(write(tmp_path)).official == (2, 2)
    assert read_inat2017(tmp_path, supercategory="Aves").official is None


@pytest.mark.skipif(not README.is_file(), reason=f"{README} is not here")
def test_the_format_and_the_numbers_of_the_official_readme(tmp_path):
    """A file with every list and field of the documented format, made from the document."""
    text = README.read_text(encoding="utf-8")
    kinds = "(5,089) categories .* (579,184) training images and (95,986) validation images"
    numbers = [int(number.replace(",", "")) for number in re.search(kinds, text).groups()]
    assert {numbers[0]: tuple(numbers[1:])} == inat._OFFICIAL
    lists = re.findall(r'"(\w+)" : \[(\w+)\]', text)
    assert len(lists) == 4
    fields = dict(reversed(re.findall(r"^(\w+)\{\n(.*?)\n\}", text, re.S | re.M)))  # the first wins
    for split in ("train", "val"):
        values = {"int": 1, "str": f"train_val_images/{split}.jpg"}
        data = {
            name: [
                {field: values[kind] for field, kind in re.findall(r'"(\w+)" : (\w+)', fields[of])}
            ]
            for name, of in lists
        }
        data["categories"][0] |= {"name": "Ara ararauna", "supercategory": "Aves"}
        (tmp_path / f"{split}2017.json").write_text(json.dumps({"info": {}, **data}))
    found = read_inat2017(tmp_path)
    assert labels(found) == ({"train_val_images/train.jpg": 0}, {"train_val_images/val.jpg": 0})
    assert found.class_names == ("Ara ararauna",)


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"{EXAMPLES} is not here")
def test_the_fake_lists_of_tfds_are_refused(tmp_path):
    """Its own builder joins by position, so nobody noticed that the ids do not."""
    root = EXAMPLES / "i_naturalist2017"
    message = r"train2017\.json: .*no image's id, the first: \[2, 4\], .*\[5, 90\]: .*join"
    with pytest.raises(ValueError, match=message):
        read_inat2017(root)
    val = (root / "train_val2017" / "val2017.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"val2017\.json: .*category_id=0.* is of no category"):
        read_inat2017(write(tmp_path, val=val))
