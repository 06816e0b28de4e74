"""Sets of tensorflow-datasets, prepared by its own builders and read without TensorFlow.

`golden/make_tfds.py` prepared what is in tfds.zip, and run_tfds.py prepares it anew.
"""

import importlib.util
import io
import json
import shutil
import sys
import xml.etree.ElementTree as ET
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from golden.make_tfds import ARCHIVE, CUB, FAKES, SPECIES, photos
from PIL import Image

from aftrans_jax.data.decoding.decode import decode_photo
from aftrans_jax.data.loading.loader import eval_batches
from aftrans_jax.data.loading.skipped import Skipped
from aftrans_jax.data.sets import tfds_source
from aftrans_jax.data.sets.subsets import Subset
from aftrans_jax.data.sets.tfds import read_tfds
from aftrans_jax.data.sets.tfds_source import TfdsSource

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_datasets"),
    reason="tensorflow-datasets is absent",
)

with zipfile.ZipFile(ARCHIVE) as _archive:
    PHOTOS = photos(lambda name, _: _archive.read(f"photos/{name}"))
DAMAGED = list(PHOTOS)[-1]


@pytest.fixture
def data_dir(unpacked):
    """The folder in which the sets are prepared."""
    return unpacked / "tfds"


def test_what_was_packed_is_read(data_dir):
    name, train, test, class_names, validation = read_tfds(CUB, str(data_dir))
    assert (name, validation) == (f"tfds:{CUB}", None)
    assert class_names[:4] == (*(species.lower() for species in SPECIES), "3")
    assert len(class_names) == 200
    for split, source in {True: train, False: test}.items():
        expected = {name: photo for name, photo in PHOTOS.items() if photo.train == split}
        assert len(source) == len(expected)
        assert sorted(source.names) == sorted(expected)
        assert list(source.labels) == [expected[name].label for name in source.names]
        for index, name in enumerate(source.names):
            if name != DAMAGED:
                image, label, box = source[index]
                np.testing.assert_array_equal(image, decode_photo(expected[name].data, name).pixels)
                assert (label, box.dtype) == (expected[name].label, np.float32)
                np.testing.assert_allclose(box, expected[name].box, atol=1e-4)


def test_pixels_are_those_that_tensorflow_datasets_decodes(data_dir):
    import tensorflow_datasets

    theirs = tensorflow_datasets.builder(CUB, data_dir=data_dir).as_data_source("train")
    ours, compared = read_tfds(CUB, data_dir).train, 0
    for index, record in enumerate(theirs):
        name = record["image/filename"].decode()
        if Image.open(io.BytesIO(PHOTOS[name].data)).mode == "RGB":
            np.testing.assert_array_equal(ours[index].image, record["image"])
            compared += 1
    assert compared == 10  # all but a grey and a CMYK photo


def test_names_and_labels_decode_no_image(data_dir, monkeypatch):
    monkeypatch.setattr(tfds_source, "decode_photo", None)
    train = read_tfds(CUB, data_dir).train
    assert train.labels is train.labels  # read once
    names = list(train.names)
    assert (train.names[-1], train.names[2:4]) == (names[-1], tuple(names[2:4]))
    with pytest.raises(IndexError):
        train.names[len(train)]
    with pytest.raises(IndexError):
        train[len(train)]


def test_a_larger_photo_than_the_run_allows_is_refused(data_dir):
    train = read_tfds(CUB, data_dir).train
    height, width, _ = train[0].image.shape
    assert read_tfds(CUB, data_dir, max_pixels=height * width).train[0].image.size
    with pytest.raises(ValueError, match=rf"at most data\.max_pixels={height * width - 1:,}"):
        read_tfds(CUB, data_dir, max_pixels=height * width - 1).train[0]


def test_many_threads_read_what_one_reads(data_dir):
    alone = [example for example in read_tfds(CUB, data_dir).train]
    fresh, order = read_tfds(CUB, data_dir).train, [index % 12 for index in range(0, 600, 7)]
    with ThreadPoolExecutor(8) as threads:
        for index, example in zip(order, threads.map(fresh.__getitem__, order), strict=True):
            for value, expected in zip(example, alone[index], strict=True):
                np.testing.assert_array_equal(value, expected)


def test_a_damaged_photo_is_named(data_dir):
    test = read_tfds(CUB, data_dir).test
    with pytest.raises(ValueError, match=f"{DAMAGED} of .*{CUB}"):
        test[list(test.names).index(DAMAGED)]


# ------------------------------------------------------------------- a set that nobody registered


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def copied(data_dir, tmp_path):
    """A copy under a name that tensorflow-datasets does not know."""
    folder = tmp_path / "my_birds" / "1.0.0"
    shutil.copytree(data_dir / CUB / "0.2.0", folder)
    for path in folder.glob(f"{CUB}-*"):
        path.rename(path.with_name(path.name.replace(CUB, "my_birds")))
    edit(folder / "dataset_info.json", lambda info: info.update(name="my_birds", version="1.0.0"))
    return folder


def forget(folder, *features):
    """Takes features off the description of a set."""

    def change(content):
        for feature in features:
            del content["featuresDict"]["features"][feature]

    edit(folder / "features.json", change)


def shard(folder, split="train"):
    return folder / f"my_birds-{split}.array_record-00000-of-00001"


def test_a_set_without_names_and_boxes(copied, tmp_path):
    forget(copied, "image/filename", "bbox", "label_name", "segmentation_mask")
    train = read_tfds("my_birds", tmp_path).train
    assert train.names[:] == tuple(f"train/{index:05}" for index in range(12))
    assert np.isnan([example.box for example in train]).all()
    assert read_tfds("my_birds:1.0.0", tmp_path).class_names == tuple(map(str, range(200)))


def test_names_that_records_share_get_their_numbers(tmp_path):
    """Without the set's own names, which its builder may have cut to what folders share."""
    names = [b"a.jpg", b"b.jpg", b"a.jpg"]
    records = [{"label": 0, "image/filename": name} for name in names]
    source = tfds_source.TfdsSource(records, tmp_path, "test", 1)
    assert source.names == ("a.jpg (test/00000)", "b.jpg", "a.jpg (test/00002)")
    assert source.at(32).names == source.names


def test_a_split_whose_names_were_asked_for_is_not_read_whole_again(tmp_path):
    """This happens when validation images are held out, then read at a reduced scale."""
    asked = []

    class Records(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    records = Records({"label": 0, "image/filename": name} for name in (b"a", b"b", b"c"))
    source = tfds_source.TfdsSource(records, tmp_path, "test", 1)
    part = Subset(source, (2, 1))
    assert (part.names, part.at(32).names, part.at(32).labels) == (("c", "b"), ("c", "b"), (0, 0))
    assert asked == [0, 1, 2]
    assert (source.resize_size, source.at(32).resize_size) == (None, 32)


def test_a_damaged_record_is_told_by_its_number(copied, tmp_path):
    data = bytearray(shard(copied, "test").read_bytes())
    data[3000] ^= 1  # one bit of the second record or so
    shard(copied, "test").write_bytes(data)
    test, errors = read_tfds("my_birds", tmp_path).test, {}
    for index in range(len(test)):
        try:
            assert test.record(index)["label"] == PHOTOS[test.names[index]].label
        except ValueError as error:
            errors[index] = str(error)
    ((index, message),) = errors.items()
    assert test.names[index] == f"test/{index:05}"
    assert f"record test/{index:05} of {copied} cannot be read" in message
    with pytest.raises(ValueError, match=test.names[index]):
        assert test.labels


def test_a_damaged_first_record_does_not_end_the_reading(copied, tmp_path):
    for split in ("train", "test"):
        data = bytearray(shard(copied, split).read_bytes())
        data[300] ^= 1
        shard(copied, split).write_bytes(data)
    dataset = read_tfds("my_birds", tmp_path)
    for source in (dataset.train, dataset.test):
        with pytest.raises(ValueError, match=r"record .*/00000 of .* cannot be read"):
            source.label(0)
        assert source.names[0] == f"{source.split}/00000"
    assert {name.lower() for name in SPECIES} < set(dataset.class_names)


@pytest.fixture
def three(copied):
    """The set with a validation split: the photos of its test split again."""
    shutil.copy(shard(copied, "test"), shard(copied, "validation"))
    edit(
        copied / "dataset_info.json",
        lambda info: info["splits"].append(info["splits"][1] | {"name": "validation"}),
    )
    return copied


def test_a_validation_split_is_one(three, tmp_path):
    dataset = read_tfds("my_birds", tmp_path)
    assert {name: source.split for name, source in dataset.splits().items()} == {
        name: name for name in ("train", "validation", "test")
    }
    assert list(dataset.validation.names) == list(dataset.test.names)
    shard(three, "validation").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 files of the split validation .*my_birds-val"):
        read_tfds("my_birds", tmp_path)


@pytest.mark.parametrize(("lacking", "tested"), [("validation", "test"), ("test", "validation")])
def test_a_split_without_labels_is_not_used(three, tmp_path, monkeypatch, lacking, tested):
    """Nor need all of its files be there."""
    record = TfdsSource.record

    def unlabelled(source, index):
        return record(source, index) | ({"label": -1} if source.split == lacking else {})

    monkeypatch.setattr(TfdsSource, "record", unlabelled)

    def in_two_files(info):
        (split,) = (split for split in info["splits"] if split["name"] == lacking)
        split["shardLengths"] *= 2

    edit(three / "dataset_info.json", in_two_files)
    shard(three, lacking).rename(
        shard(three, lacking).with_name(f"my_birds-{lacking}.array_record-00000-of-00002")
    )
    dataset = read_tfds("my_birds", tmp_path)
    assert (dataset.test.split, dataset.validation) == (tested, None)


def without_test(info):
    info["splits"] = info["splits"][:1]


CHANGES = {
    "no such set": (lambda folder: None, "caltech_bird2011", ValueError, "such as caltech_birds"),
    "no name": (lambda folder: None, "my birds", ValueError, "Correct the name"),
    "another version": (lambda folder: None, f"{CUB}:9.9.9", ValueError, "only: 0.2.0"),
    "not prepared": (
        lambda folder: None,
        "stanford_dogs",
        FileNotFoundError,
        r"in .*stanford_dogs/0\.2\.0: .*`bash launch/prepare_tfds.sh stanford_dogs /",
    ),
    "another format": (
        lambda folder: edit(
            folder / "dataset_info.json", lambda info: info.update(fileFormat="tfrecord")
        ),
        "my_birds",
        ValueError,
        "is prepared as tfrecord: expected array_record.*prepare_tfds.sh my_birds",
    ),
    "a file is missing": (
        lambda folder: shard(folder, "test").unlink(),
        "my_birds",
        FileNotFoundError,
        "1 files of the split test .*my_birds-test.array_record",
    ),
    "no label": (
        lambda folder: forget(folder, "label"),
        "my_birds",
        ValueError,
        "has the features .*image/filename.*expected an image .* and a class",
    ),
    "no test split": (
        lambda folder: edit(folder / "dataset_info.json", without_test),
        "my_birds",
        ValueError,
        "has the splits train: expected train, and test or validation",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_errors_say_what_to_do(copied, tmp_path, case):
    change, name, kind, message = CHANGES[case]
    change(copied)
    with pytest.raises(kind, match=message):
        read_tfds(name, tmp_path)


def test_without_tensorflow_datasets(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match="Run `pip install tensorflow-datasets`"):
        read_tfds(CUB, tmp_path)


# -------------------------------------------------------------------------------- the other sets


def test_stanford_dogs(real, data_dir):
    _, train, test, class_names, _ = read_tfds("stanford_dogs", data_dir)
    assert (len(train), len(test), len(class_names)) == (8, 3, 120)
    for source in (train, test):
        for name, (image, label, box) in zip(source.names, source, strict=True):
            breed, file = Path(name).parts[-2:]
            assert class_names[label] == breed.lower()
            note = ET.parse(
                FAKES / "stanford_dogs" / "Annotation.tar" / breed / Path(file).stem
            ).getroot()
            size = [float(note.findtext(f"size/{side}")) for side in ("height", "width")]
            corners = [
                float(note.findtext(f"object[1]/bndbox/{side}"))
                for side in ("ymin", "xmin", "ymax", "xmax")
            ]
            shares = np.minimum(np.divide(corners, size * 2), 1)
            np.testing.assert_allclose(box, shares * (image.shape[:2] * 2), rtol=1e-5)


def test_cars196(real, data_dir):
    _, train, test, class_names, _ = read_tfds("cars196", data_dir)
    assert class_names[0] == "AM General Hummer SUV 2000"
    lists = {"extra/devkit/cars_train_annos.mat": train, "cars_test_annos_withlabels.mat": test}
    for path, source in lists.items():
        rows = scipy.io.loadmat(FAKES / "cars196" / path, squeeze_me=True)["annotations"]
        rows = {str(row["fname"]).removesuffix(".jpg"): row for row in np.atleast_1d(rows)}
        assert sorted(source.names) == sorted(rows)
        for name, (image, label, box) in zip(source.names, source, strict=True):
            row = rows[name]
            assert label == int(row["class"]) - 1
            keys = ("bbox_y1", "bbox_x1", "bbox_y2", "bbox_x2")
            np.testing.assert_allclose(box, [float(row[key]) for key in keys], rtol=1e-5)
            assert box[2] <= image.shape[0]


def test_i_naturalist2017_is_tested_on_its_validation_split(data_dir):
    """Its official test split has no labels."""
    _, train, test, class_names, _ = read_tfds("i_naturalist2017", data_dir)
    assert (len(train), len(test), len(class_names)) == (4, 3, 5089)
    species = {"0004": "Mertensia ciliata", "0006": "Nicrophorus tomentosus"}
    species["0007"] = "Aramus guarauna"
    found = {name: class_names[label] for name, label in zip(test.names, test.labels, strict=True)}
    assert found == species
    assert np.isnan(test[0].box).all()


def test_a_run_leaves_out_the_damaged_photo(data_dir):
    test = read_tfds(CUB, data_dir).test
    skipped = Skipped(test)
    batches = list(
        eval_batches(
            test, batch_size=4, image_size=16, resize_size=20, process_index=0, process_count=1,
            skipped=skipped,
        )
    )  # fmt: skip
    assert sum(batch["mask"].sum() for batch in batches) == 5
    assert skipped.names(skipped.flags) == [DAMAGED]
