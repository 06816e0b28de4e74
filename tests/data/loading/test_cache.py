"""The cache of resized images: the same batches, each file decoded once, memory checked."""

import re
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from aftrans_jax.config import base_config
from aftrans_jax.data.loading.cache import ResizedCache, check_memory, free_memory
from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.loading.transforms import CROPS
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from aftrans_jax.data.sets.synthetic import SyntheticBirds, synthetic_dataset
from aftrans_jax.experiment.classes import Evaluated
from aftrans_jax.experiment.data import load_dataset

SIZES = {"image_size": 12, "resize_size": 16, "process_index": 0, "process_count": 1}


class Counting:
    """A source that counts how often each example is read."""

    def __init__(self, source):
        self.source, self.names, self.labels = source, source.names, source.labels
        self.reads = np.zeros(len(source), int)

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.source[index]


@pytest.fixture
def photos(tmp_path, rng):
    """Smaller than, larger than and exactly of the size they are resized to."""
    shapes = [(9, 14), (16, 16), (40, 30), (16, 20), (7, 50), (33, 16)]
    names = tuple(f"{index}.png" for index in range(len(shapes)))
    for name, shape in zip(names, shapes, strict=True):
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(tmp_path / name)
    boxes = np.array([(1, 2, 6, 7)] * 5 + [(np.nan,) * 4], np.float32)
    return PhotoSource(PhotoTable(tmp_path, names, (0, 1, 2, 0, 1, 2), boxes))


def assert_same(stream, other):
    for one, two in zip(stream, other, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
@pytest.mark.parametrize("num_threads", [0, 3])
def test_batches_are_those_of_the_source_and_files_are_read_once(photos, num_threads, crop):
    counting = Counting(photos)
    cache = ResizedCache(counting, 16)
    options = SIZES | {"batch_size": 4, "num_threads": num_threads}
    training = {"seed": 5, "start_step": 0, "crop": crop}
    plain = islice(train_batches(photos, **training, **options), 9)
    assert_same(plain, islice(train_batches(cache, **training, **options), 9))
    assert counting.reads.max() <= (1 if num_threads == 0 else 3)  # two threads may meet
    seen = counting.reads.copy()
    assert seen.min() == 1 or num_threads
    assert_same(eval_batches(photos, **options), eval_batches(cache, **options))
    np.testing.assert_array_equal(counting.reads, np.maximum(seen, 1))


def test_names_and_labels_are_the_source_s(photos):
    cache = ResizedCache(photos, 16)
    assert (len(cache), cache.names, cache.labels) == (6, photos.names, photos.labels)


def test_what_cannot_be_read_is_not_kept(photos):
    path = Path(photos.table.root) / "2.png"
    cache, content = ResizedCache(photos, 16), path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"2\.png"):
        cache[2]
    path.write_bytes(content)
    assert cache[2].image.any()


@pytest.mark.parametrize(("free", "fits"), [(30_000_000, True), (14_000_000, False)])
def test_memory_is_announced_or_refused(monkeypatch, free, fits):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    figures = "1,000 images of 64 x 64 px take 0.01 GB of the"
    if fits:
        assert check_memory([(600, 64), (400, 64)]) == f"cache: {figures} 0.03 GB of free memory"
    else:
        with pytest.raises(ValueError, match=rf"data\.cache='ram': {figures}.*at most 80%.*none"):
            check_memory([(600, 64), (400, 64)])  # 12.3 MB of 14: four fifths are 11.2


def cached(**changes):
    """The configuration of drawn birds in memory; keys are those of `data`."""
    config = base_config()
    values = {"name": "synthetic", "num_train": 8, "num_test": 4, "source_size": 64, "cache": "ram"}
    config.data.update(values | changes)
    return config


def test_the_key_that_is_named_lowers_the_figure(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    with pytest.raises(ValueError, match="12 images of 64 x 64 px") as caught:
        load_dataset(cached())
    (key,) = re.findall(r"a smaller data\.(\w+)", str(caught.value))
    with pytest.raises(ValueError, match="12 images of 32 x 32 px"):
        load_dataset(cached(**{key: 32}))


def test_splits_of_two_sizes_are_both_said(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    text = "8 images of 96 x 96 px and 4 images of 64 x 64 px take 0.00 GB"  # 270,336 bytes
    config = cached(resize_ratio=1.5)
    config.eval.resize_ratio = 1.0
    dataset, (note,) = load_dataset(config)
    assert text in note
    assert [dataset.train[0].image.shape, dataset.test[0].image.shape] == [(96, 96, 3), (64, 64, 3)]


def test_an_evaluation_keeps_nothing(monkeypatch):
    """It reads each test image once, and no other."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    classes = synthetic_dataset(num_train=0, num_test=0).class_names
    dataset, notes = load_dataset(cached(), Evaluated(classes))
    assert (type(dataset.test), notes) == (SyntheticBirds, ())


@pytest.mark.parametrize(("copies", "fits"), [(1, True), (4, True), (5, False)])
def test_processes_of_one_host_each_take_it(monkeypatch, copies, fits):
    """12.3 MB each; four fifths of 65 MB are 52."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=65_000_000))
    if fits:
        note = check_memory([(1000, 64)], copies)
        assert (", once for each of 4 processes on this host, take 0.05 GB" in note) == (copies > 1)
    else:
        with pytest.raises(ValueError, match=r"each of 5 processes on this host, take 0\.06 GB"):
            check_memory([(1000, 64)], copies)


def group(folder, limit, used, *, version):
    """A control group as Linux shows it."""
    name, key = {1: ("memory.limit_in_bytes", "total_rss"), 2: ("memory.max", "anon")}[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"cache 7\nrss 1\n{key} {used}\nfile 12345\n")


V1, V2 = "5:cpu,cpuacct:/elsewhere\n4:memory:{}\n1:name=systemd:/\n0::/init.scope\n", "0::{}\n"
UNLIMITED = 9223372036854771712  # of version 1


@pytest.mark.parametrize(
    ("own", "groups", "rest"),
    [
        (V2, {"": ("max", 0), "job": (900, 500), "job/step": (950, 100)}, 400),  # above it
        (V2, {"": ("max", 0), "job": (900, 500), "job/step": (200, 100)}, 100),  # its own
        (V2, {"": ("max", 0), "job": ("max", 500), "job/step": ("max", 100)}, 1000),
        (V2, {"": (700, 100)}, 600),  # in a container, which sees its own group as the root
        (V2, {"": (700, 750)}, 0),
        (V2, {"": ("max", 0), "other": (5, 0), "job/step/below": (5, 0)}, 1000),
        (V2, {}, 1000),
        (V1, {"": (UNLIMITED, 300), "job": (800, 300), "job/step": (UNLIMITED, 100)}, 500),
        (V1, {"": (800, 300)}, 500),
        (V1, {"": (UNLIMITED, 300)}, 1000),
        ("", {"": (5, 0)}, 1000),
        (None, {"": (5, 0)}, 1000),
    ],
)
def test_the_smallest_limit_of_the_groups_around_counts(monkeypatch, tmp_path, own, groups, rest):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    version, mount = (1 if own == V1 else 2), tmp_path / "cgroup"
    for name, values in groups.items():
        folder = mount / "memory" / name if version == 1 else mount / name
        group(folder, *values, version=version)
    if own is not None:
        (tmp_path / "self").write_text(own.format("/job/step"))
    assert free_memory(tmp_path / "self", mount) == rest


def test_a_group_outside_of_what_is_visible_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    group(tmp_path / "cgroup", 700, 100, version=2)
    group(tmp_path, 50, 0, version=2)
    (tmp_path / "self").write_text("0::/../../job\n")
    assert free_memory(tmp_path / "self", tmp_path / "cgroup") == 600
