"""The drawn split: each image has a number of its own, computed here a second time."""

import hashlib
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftrans_jax.data.examples import Dataset, Example
from aftrans_jax.data.sets.holdout import drawn_split, hold_out

FEW = settings(deadline=None, max_examples=40)
IMAGES = st.lists(
    st.tuples(st.sampled_from(["wren", "owl", "Grün"]), st.text("abcd", min_size=1, max_size=3)),
    unique=True,
    min_size=2,
    max_size=60,
).filter(lambda images: len({of for of, _ in images}) < len(images))
FRACTIONS = st.floats(0.01, 0.99)
SEEDS = st.integers(0, 2**32)


def draw(images, fraction, seed, purpose="test"):
    """The images that are held out, as a set."""
    names = [name for name, _ in images]
    paths = [f"{name}/{file}.jpg" for name, file in images]
    stay, out = drawn_split(names, paths, fraction, seed, purpose=purpose)
    assert sorted(stay + out) == list(range(len(images)))  # disjoint and covering
    assert (sorted(stay), sorted(out)) == (list(stay), list(out))
    return {images[index] for index in out}


def number(image, seed):
    key = f"{seed}\0test\0{image[0]}\0{image[1]}.jpg".encode()
    return int(hashlib.blake2b(key, digest_size=8).hexdigest(), 16) / 2**64


@FEW
@given(images=IMAGES, fraction=FRACTIONS, seed=SEEDS)
def test_an_image_is_held_out_where_its_number_is_below_the_fraction(images, fraction, seed):
    held_out, members = draw(images, fraction, seed), defaultdict(list)
    for image in images:
        members[image[0]].append(image)
    for of in members.values():
        of.sort(key=lambda image: number(image, seed))
        expected = {image for image in of if number(image, seed) < fraction}
        if len(of) == 1:
            expected = set()
        elif not expected:
            expected = {of[0]}
        elif len(expected) == len(of):
            expected.remove(of[-1])
        assert held_out & set(of) == expected


@FEW
@given(images=IMAGES, more=IMAGES, fraction=FRACTIONS, seed=SEEDS)
def test_images_that_come_move_no_other(images, more, fraction, seed):
    """Except the one of a class that was moved so that it has one on each side."""
    before, union = draw(images, fraction, seed), list(dict.fromkeys([*more, *images]))
    after = draw(union, fraction, seed)
    for image in images:
        if (image in before) != (image in after):
            own = [number(i, seed) for i in images if i[0] == image[0]]
            alone = len(own) == 1
            assert alone or max(own) < fraction or min(own) >= fraction
    assert draw(list(reversed(union)), fraction, seed) == after


def test_the_share_is_close_to_the_fraction_and_seeds_and_purposes_differ():
    images = [("wren", str(index)) for index in range(4000)]
    drawn = [draw(images, 0.2, seed, purpose) for seed in (0, 1) for purpose in ("test", "val")]
    for held_out in drawn:
        assert abs(len(held_out) - 800) < 4 * np.sqrt(4000 * 0.2 * 0.8)
    for one in range(4):
        for other in range(one):
            both = len(drawn[one] & drawn[other])
            assert abs(both - 160) < 4 * np.sqrt(160)


def test_neither_layout_nor_unicode_form_matters():
    files = [f"{index}.jpg" for index in range(50)]
    layouts = [
        [("Gr\u00fcn", f"Gr\u00fcn/{file}") for file in files],
        [("Gr\u00fcn", f"train/Gru\u0308n/{file}") for file in files],
        [("Gru\u0308n", f"photos/2024/Gr\u00fcn/{file}") for file in files],
    ]
    splits = [drawn_split(*zip(*of, strict=True), 0.3, 5, purpose="test") for of in layouts]
    assert splits[0] == splits[1] == splits[2]


def test_files_may_be_named_as_their_class():
    paths = [f"{number}/wren" for number in range(100)]
    _, out = drawn_split(["wren"] * 100, paths, 0.5, 0, purpose="test")
    assert 30 < len(out) < 70  # each has a number of its own


def test_names_that_are_not_utf_8_have_numbers_too():
    assert draw([("wren", "\udce9"), ("wren", "\udcff")], 0.5, 0)


class Listed:
    """Examples that have only names and labels."""

    def __init__(self, names, labels):
        self.names, self.labels = names, labels

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return Example(np.zeros((1, 1, 3), np.uint8), self.labels[index], np.zeros(4, np.float32))


def test_validation_images_come_from_training_images_that_the_test_left():
    """Else the images below one fraction, all of them in the test split, would be looked for."""
    images = [("wren", str(index)) for index in range(400)]
    left = sorted(set(images) - draw(images, 0.3, 0))
    train = Listed([f"wren/{file}.jpg" for _, file in left], [0] * len(left))
    dataset = hold_out(Dataset("x", train, train, ("wren",)), 0.3, 0)
    assert dataset.validation is not None
    assert len(dataset.train) + len(dataset.validation) == len(left)
    assert 0.2 < len(dataset.validation) / len(left) < 0.4
    assert not set(dataset.train.names) & set(dataset.validation.names)


@pytest.mark.parametrize(
    ("images", "fraction", "message"),
    [
        ("aa", 0.0, r"^data\.test_fraction=0\.0 must lie in \(0, 1\)"),
        ("aa", 1.0, r"test_fraction=1\.0 must"),
        ("aa", float("nan"), "test_fraction=nan must"),
    ],
)
def test_what_cannot_be_held_out_is_refused(images, fraction, message):
    with pytest.raises(ValueError, match=message):
        drawn_split(images, [f"{i}" for i in range(len(images))], fraction, 0, purpose="test")


@pytest.mark.parametrize(
    ("purpose", "remedy"),
    [
        ("validation", "hold out nothing by --config.data.validation_fraction=0."),
        ("test", "put them into train/ and test/ yourself, or say so in the column split."),
    ],
)
def test_of_classes_of_one_image_none_can_be_held_out(purpose, remedy):
    with pytest.raises(ValueError, match="no class has two examples") as caught:
        drawn_split("abc", ["0", "1", "2"], 0.5, 0, purpose=purpose)
    assert str(caught.value).endswith(f"at least two images. Add images, or {remedy}")
