"""Images that cannot be read: an error, or a masked row that is counted."""

from itertools import islice

import numpy as np
import pytest

from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.loader import eval_batches, train_batches
from aftrans_jax.data.loading.skipped import Skipped

OPTIONS = {
    "batch_size": 4,
    "image_size": 4,
    "resize_size": 4,
    "process_index": 0,
    "process_count": 1,
}
TRAINING = OPTIONS | {"seed": 0, "start_step": 0}
MANY = {"batch_size": 100, "num_threads": 0}  # of thousands of images, by this process


class Damaged:
    """Images in memory, ten of them by default; some cannot be read."""

    def __init__(self, broken, error=ValueError, length=10):
        self.names, self.labels = [f"photo {index}" for index in range(length)], [0] * length
        self.broken, self.error = broken, error

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if index in self.broken:
            raise self.error(f"cannot decode {self.names[index]}")
        return Example(
            np.full((4, 4, 3), index % 255 + 1, np.uint8), 0, np.full(4, np.nan, np.float32)
        )


def test_a_photo_without_permission_is_named_with_the_remedies():
    source = Damaged({0}, lambda _: PermissionError(13, "Permission denied", "a/0.jpg"))
    wanted = r"'a/0\.jpg' cannot be opened: .*Change its permissions, or .*on_error=skip"
    with pytest.raises(PermissionError, match=wanted):
        list(eval_batches(source, **OPTIONS, num_threads=0))


@pytest.mark.parametrize("num_threads", [0, 3])
@pytest.mark.parametrize("error", [ValueError, FileNotFoundError, PermissionError])
def test_unreadable_rows_are_masked_and_noted(num_threads, error):
    source = Damaged({2, 7}, error)
    skipped = Skipped(source)
    batches = islice(train_batches(source, **TRAINING, num_threads=num_threads, skipped=skipped), 5)
    rows = [row for batch in batches for row in zip(batch["index"], batch["mask"], strict=True)]
    intact = list(islice(train_batches(Damaged(()), **TRAINING), 5))
    for (index, mask), wanted in zip(
        rows, np.concatenate([b["index"] for b in intact]), strict=True
    ):
        assert (index, mask) == ((-1, False) if wanted in source.broken else (wanted, True))
    assert skipped.names(skipped.flags) == ["photo 2", "photo 7"]


def test_evaluation_counts_every_readable_image_once():
    source = Damaged({0, 9})
    skipped = Skipped(source)
    batches = list(eval_batches(source, **OPTIONS, skipped=skipped))
    index = np.concatenate([batch["index"] for batch in batches])
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert index[mask].tolist() == list(range(1, 9))
    assert not np.concatenate([batch["image"] for batch in batches])[~mask].any()
    assert skipped.flags.nonzero()[0].tolist() == [0, 9]


def test_an_image_is_noted_once_and_warned_of_once(caplog):
    skipped = Skipped(Damaged(()))
    for _ in range(3):
        skipped.note(4, ValueError("half a file"))
    assert skipped.flags.sum() == 1
    assert sum("half a file" in record.message for record in caplog.records) <= 1


@pytest.mark.parametrize(("process_count", "number"), [(1, 15), (2, 10)])
def test_more_than_half_of_those_seen_is_too_much(process_count, number):
    """A disk that is gone, as each process sees it: a quarter of its share, ten images or more."""
    source = Damaged(range(30), OSError, length=60)
    sharing = OPTIONS | {"process_count": process_count, "num_threads": 0}
    expected = rf"{number} of the last {number} images cannot be read.*at least half"
    with pytest.raises(ValueError, match=expected):
        list(eval_batches(source, **sharing, skipped=Skipped(source, process_count)))
    late = Damaged(range(29, 58), OSError, length=60)  # 29 of 58 is half
    list(eval_batches(late, **sharing, skipped=Skipped(late, process_count)))


def test_few_damaged_images_next_to_one_another_are_skipped():
    """Images are tested in the order of their names: a damaged folder may be the first."""
    source = Damaged(range(10), length=5000)
    skipped = Skipped(source)
    list(eval_batches(source, **(OPTIONS | MANY), skipped=skipped))
    assert skipped.flags.nonzero()[0].tolist() == list(range(10))


def test_of_many_images_the_first_200_tell():
    source = Damaged(range(200), length=5000)
    batches = eval_batches(source, **OPTIONS, num_threads=0, skipped=Skipped(source))
    with pytest.raises(ValueError, match="200 of the last 200 images"):
        list(batches)


class Vanishing(Damaged):
    """A disk that is gone after some images have been read."""

    def __init__(self, length, after):
        super().__init__((), OSError, length)
        self.after = after

    def __getitem__(self, index):
        self.after -= 1
        if self.after < 0:
            self.broken = range(len(self))
        return super().__getitem__(index)


@pytest.mark.parametrize(("length", "after", "until"), [(60, 200, 31), (5000, 6000, 201)])
@pytest.mark.parametrize("were_broken", [0, 40])
def test_a_disk_that_vanishes_later_is_noticed_at_once(length, after, until, were_broken):
    """After at least an epoch without an error, and of images recorded as unreadable already."""
    source = Vanishing(length, after)
    skipped = Skipped(source)
    skipped.flags[:were_broken] = True
    with pytest.raises(ValueError, match=f"{until} of the last .* cannot be read"):
        for _ in train_batches(source, **(TRAINING | MANY), skipped=skipped):
            pass
    assert source.after == -until


@pytest.mark.parametrize("start", [0, 700, 4801])
def test_a_damaged_folder_is_skipped_wherever_it_is(start):
    source = Damaged(range(start, start + 199), length=5000)
    skipped = Skipped(source)
    for _ in range(2):
        batches = eval_batches(source, **(OPTIONS | MANY), skipped=skipped)
        assert sum(int(batch["mask"].sum()) for batch in batches) == 5000 - 199


def test_other_errors_are_not_swallowed():
    source = Damaged({1}, RuntimeError)
    with pytest.raises(RuntimeError, match="photo 1"):
        list(eval_batches(source, **OPTIONS, skipped=Skipped(source)))
