"""Folders of photos: arrangements that work, those that do not, links, and the same from CUB."""

import os
import re
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import REAL

from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.sets.annotations import photo_dataset
from aftrans_jax.data.sets.csv_list import read_csv, write_csv
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.files import find_files
from aftrans_jax.data.sets.folder import read_folder

CUB10 = REAL / "cub10" / "CUB_200_2011"

SPLIT = (
    "train/wren/b.jpg",
    "train/wren/a.jpg",
    "train/Émeu 鸟/deep/er/c.PNG",
    "test/wren/d.jpeg",
    "test/Émeu 鸟/e.bmp",
)


def plant(root, *paths):
    """Writes images of 8 x 6 whose red level is that of the number of the path, times 20."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (20 * number, 0, 0)).save(root / path)
    return root


def refused(root, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read_folder(root)


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Training", "VAL"), ("train", "valid")]
)
def test_a_folder_of_splits_end_to_end(tmp_path, train, test):
    paths = [path.replace("train/", f"{train}/").replace("test/", f"{test}/") for path in SPLIT]
    name, taught, held_out, class_names, validation = photo_dataset(
        read_folder(str(plant(tmp_path, *paths)))
    )
    assert (name, class_names, validation) == ("folder", ("wren", "Émeu 鸟"), None)
    a, b, c, d, e = (paths[index] for index in (1, 0, 2, 3, 4))
    assert (taught.names, taught.labels) == ((a, b, c), (0, 0, 1))
    assert (held_out.names, held_out.labels) == ((d, e), (0, 1))
    image, label, box = taught[2]
    assert (image.shape, label) == ((6, 8, 3), 1)
    np.testing.assert_array_equal(image[0, 0], [40, 0, 0])  # PNG loses nothing
    assert np.isnan(box).all()


def test_a_folder_of_classes_is_split_by_class_and_seed(tmp_path):
    plant(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(10)))
    splits = {}
    for seed in (0, 1):
        lists = read_folder(tmp_path, test_fraction=0.3, seed=seed)
        assert tuple(sorted(lists.train.names + lists.test.names)) == find_files(tmp_path).photos
        assert read_folder(tmp_path, test_fraction=0.3, seed=seed).test.names == lists.test.names
        splits[seed] = lists.test.names
    assert splits[0] != splits[1]


def test_whole_numbers_are_in_the_order_of_their_values(tmp_path):
    folders = ("10", "9", "009", "1")
    plant(tmp_path, *(f"{folder}/{name}.png" for folder in folders for name in "ab"))
    assert read_folder(tmp_path).class_names == ("1", "009", "9", "10")
    plant(tmp_path, "b/a.png", "b/b.png")  # then they are words
    assert read_folder(tmp_path).class_names == ("009", "1", "10", "9", "b")


def test_images_are_known_by_their_suffix_and_the_rest_is_left_out(tmp_path):
    suffixes = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"]
    wanted = [f"a/{suffix}.{suffix}" for suffix in suffixes]
    wanted += [f"b/{suffix}.{suffix.upper()}" for suffix in suffixes]
    plant(tmp_path, *wanted, "__MACOSX/a/x.jpg", ".git/x.jpg", "a/.thumbs/x.png", "b/._x.jpg")
    for name in ("a/Thumbs.db", ".DS_Store", "a/notes.txt", "LICENSE", "a/jpg"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "a" / "folder.jpg").mkdir()
    assert find_files(tmp_path).photos == tuple(sorted(wanted))
    dataset = photo_dataset(read_folder(tmp_path))
    assert {
        example.image.shape for split in (dataset.train, dataset.test) for example in split
    } == {(6, 8, 3)}
    assert dataset.class_names == ("a", "b")


def test_a_single_folder_of_splits_or_classes_is_proposed_as_the_place(tmp_path):
    plant(tmp_path, "my images/train/a/x.png", "my images/test/a/y.png")
    hint = re.escape(f"in my images/, use --config.data.dir='{tmp_path}/my images'. Arrange")
    refused(tmp_path, f"has 2 images of 1 class .*If the classes or splits are {hint}")


def test_links_are_followed_but_not_in_circles(tmp_path):
    store, root = plant(tmp_path / "store", "p.png", "q/r.png"), tmp_path / "set"
    plant(root, "a/x.png", "a/y.png")
    (root / "b").symlink_to(store, target_is_directory=True)
    for place, target in {
        "a/up": "..",
        "a/self": ".",
        "a/root": "/",
        "a/outside": tmp_path,
        "../store/back": root / "b",  # from one linked folder into the next
    }.items():
        (root / place).symlink_to(target)
    assert find_files(root).photos == ("a/x.png", "a/y.png", "b/p.png", "b/q/r.png")
    assert read_folder(root).class_names == ("a", "b")
    for link, target in (("knot", "knot"), ("gone", tmp_path / "disk" / "gone")):
        (root / link).symlink_to(target)  # the folder of a class perhaps, whose disk is not there
        message = f"1 folder or link that cannot be read, the first: '{link}': .*attach the disk"
        with pytest.raises(ValueError, match=message):
            read_folder(root)
        (root / link).unlink()
    (store / "p.png").unlink()
    (store / "p.png").symlink_to("nowhere.png")
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images of folder .*first: b/p\.png"):
        photo_dataset(read_folder(root))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), r"0 images of 0 classes \[\]: expected two classes or more"),
        (("a/x.png", "a/y.png"), r"2 images of 1 class \['a'\]: expected two"),
        (("train/a/x.png", "test/a/y.png"), r"1 class \['a'\]"),
        (("a/x.png", "b/x.png", "x.png"), r"1 image outside .*first: 'x\.png': expected every"),
        ((*SPLIT, "test/x.png"), r"1 image outside .*first: 'test/x\.png'"),
        ((*SPLIT, "extra/wren/x.png"), r"1 image outside .*first: 'extra/wren/x\.png'"),
        (("train/a/x.png", "train/b/x.png"), r"splits \['train'\]: expected one"),
        (("test/a/x.png", "val/b/x.png"), r"splits \['test', 'val'\]: expected one"),
        (
            (*SPLIT, "test/owl/x.png"),
            "1 class without training images, the first: 'owl': expected",
        ),
    ],
)
def test_other_arrangements_are_refused(tmp_path, paths, message):
    root = plant(tmp_path, *paths)
    refused(root, rf"{root} has .*{message}.*Arrange the images as train/<class>/.*data\.dir")


def test_a_folder_without_images_is_refused(tmp_path):
    (plant(tmp_path, *SPLIT) / "test" / "owl").mkdir()
    (tmp_path / "test" / "owl" / "x.heic").write_bytes(b"what phones write")
    refused(tmp_path, r"1 folder without images, .*'test/owl': expected .*\.jpeg .*Fill these")
    one_level = tmp_path / "train"
    (one_level / "owl").mkdir()
    refused(one_level, "1 folder without images, the first: 'owl'")


@pytest.mark.parametrize("place", ["run", "runs/folder", "studies/own/plain-0"])
def test_a_run_in_the_folder_of_its_photos_is_no_class(tmp_path, place):
    """It was told to be filled or removed, so that no run could go on there."""
    plant(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(4)))
    before = read_folder(tmp_path)
    (tmp_path / place / "report").mkdir(parents=True)
    for name in ("config.json", "report/index.html"):
        (tmp_path / place / name).touch()
    after = read_folder(tmp_path)
    assert (after.class_names, after.train.names) == (("a", "b"), before.train.names)
    assert f"{place}/config.json" in after.notes[0]
    (tmp_path / "c").mkdir()
    refused(tmp_path, "1 folder without images, the first: 'c'")


def test_photos_beside_a_config_json_are_a_class(tmp_path):
    plant(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(4)))
    (tmp_path / "b" / "config.json").touch()
    assert read_folder(tmp_path).class_names == ("a", "b")


def test_a_class_may_lack_test_images(tmp_path):
    lists = read_folder(plant(tmp_path, *SPLIT, "train/owl/x.png"))
    assert lists.class_names == ("owl", "wren", "Émeu 鸟")
    assert (set(lists.train.labels), set(lists.test.labels)) == ({0, 1, 2}, {1, 2})


@pytest.mark.parametrize("name", ["absent", "file.txt"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file.txt").touch()
    with pytest.raises(FileNotFoundError, match=rf"{name} is not a folder: expected .*data\.dir"):
        read_folder(tmp_path / name)


def test_a_list_in_the_place_of_a_folder_is_told_its_kind(tmp_path):
    (tmp_path / "photos.CSV").touch()
    with pytest.raises(FileNotFoundError, match=r"a CSV list add --config\.data\.name=csv$"):
        read_folder(tmp_path / "photos.CSV")


@pytest.mark.skipif(not CUB10.is_dir(), reason=f"{CUB10} is not here")
def test_the_same_photos_give_the_same_batches_whatever_lists_them(tmp_path):
    official = read_cub(CUB10)
    rows = []
    for split, examples in (("train", official.train), ("test", official.test)):
        for name in examples.names:
            copy = tmp_path / "set" / split / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(CUB10 / "images" / name, copy)
            rows.append((f"images/{name}", Path(name).parent.name, split))
    (tmp_path / "images").symlink_to(CUB10 / "images")
    write_csv(tmp_path / "cub10.csv", rows[::-1])
    reading = {"batch_size": 8, "image_size": 32, "resize_size": 36}
    reading |= {"process_index": 0, "process_count": 1, "num_threads": 2}
    train = partial(train_batches, seed=5, start_step=0, **reading)
    wanted, *others = [
        [*islice(train(dataset.train), 3), *islice(eval_batches(dataset.test, **reading), 3)]
        for dataset in map(
            photo_dataset,
            (official, read_folder(tmp_path / "set"), read_csv(tmp_path / "cub10.csv")),
        )
    ]
    assert len(wanted) == 6
    assert len({label for batch in wanted[:3] for label in batch["label"].tolist()}) > 3
    for batches in others:
        for batch, other in zip(wanted, batches, strict=True):
            for key in ("image", "label", "index", "mask"):
                np.testing.assert_array_equal(batch[key], other[key])
            assert np.isfinite(batch["box"]).all()
            assert np.isnan(other["box"]).all()
