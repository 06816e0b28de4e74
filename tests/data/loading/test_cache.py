"""The cache of resized images: the same batches, each file decoded once, memory checked."""

from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from aftrans_jax.data.loading.cache import ResizedCache, check_memory
from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.loading.transforms import CROPS
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable

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
    return PhotoSource(PhotoTable(tmp_path, names, (0, 1, 2, 0, 1, 2), 3, boxes))


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
        assert check_memory(1000, 64) == f"cache: {figures} 0.03 GB of free memory"
    else:
        with pytest.raises(ValueError, match=rf"data\.cache='ram': {figures}.*at most 80%.*none"):
            check_memory(1000, 64)  # 12.3 MB of 14: four fifths are 11.2
