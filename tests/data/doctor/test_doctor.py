"""The data doctor: each kind of damage planted where it is known, and the real photos."""

import os
import shlex
import subprocess
import sys
import tempfile
import time
import weakref
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT

from aftrans_jax import check_data
from aftrans_jax.data.doctor.examine import clean, examine
from aftrans_jax.data.doctor.findings import problems, report
from aftrans_jax.data.examples import Dataset, Example
from aftrans_jax.data.sets.annotations import Record, annotations
from aftrans_jax.data.sets.csv_list import read_csv
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.folder import read_folder
from aftrans_jax.data.sets.holdout import hold_out
from aftrans_jax.data.sets.synthetic import synthetic_dataset

CUB_CONFIG = "--config=configs/cub.py"
CLASSES = ("Crow", "Gull", "Tern")
TINY_PX = 10
GREY, TINY = {"grey", "tiny grey"}, {"tiny", "tiny grey"}
PICTURES = ["plain", "grey at the top", "grey", "tiny", "tiny grey"]  # what an image may show
DAMAGE = ["missing", "empty", "truncated"]


def pixels(picture):
    """A picture by its name; no two names share one."""
    rng = np.random.default_rng(list(picture.encode()))
    shape = {"tiny": (9, 12), "tiny grey": (12, 9)}.get(picture, (12, 10))
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    rows = slice(0, 1 if picture == "grey at the top" else len(image) * (picture in GREY))
    image[rows] = image[rows, :, :1]
    return image


def plant(path, picture):
    if picture == "missing":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "BMP" if path.name.endswith("0.png") else "PNG"  # the same pixels in other bytes
    damaged = picture in ("empty", "truncated")
    Image.fromarray(pixels("plain" if damaged else picture)).save(path, format=kind)
    if damaged:
        path.write_bytes(path.read_bytes()[: 0 if picture == "empty" else 100])


def planted(root, images, official=None):
    """A set of (split, class, picture)s."""
    records = []
    for number, (split, class_name, picture) in enumerate(images):
        name = f"{class_name}/{number:03d}.png"
        plant(root / name, picture)
        records.append(Record(name, CLASSES.index(class_name), split))
    lists = annotations(
        "birds", root, records, CLASSES, official=None, source=root, remedy="Restore it."
    )
    return lists._replace(official=official)


def diagnose(listed, num_threads=2):
    return examine(listed, tiny_px=TINY_PX, num_threads=num_threads)


def names(images):
    return [image.name for image in images]


def kinds(lines):
    """The finding in each line, and its number of images."""
    parts = [line.removeprefix("note: ").partition(" (") for line in lines if " (" in line]
    return {what: int(rest[: rest.index(")")]) for what, _, rest in parts}


SOUND = [
    (split, class_name, f"plain {number}")
    for number, (split, class_name) in enumerate(
        (split, class_name) for split in ("train", "test") for class_name in CLASSES for _ in "ab"
    )
]

# ---------------------------------------------------------------------------- by construction


def test_a_clean_set(tmp_path):
    diagnosis = diagnose(planted(tmp_path, SOUND))
    assert problems(diagnosis) == []
    assert report(diagnosis) == [
        f"birds: 12 images below {tmp_path}",
        "3 classes: Crow, Gull, Tern",
        "",
        "                             train    test",
        "  official                       -       -",
        "  listed                         6       6",
        "  readable                       6       6",
        "  fewest in a class              2       2",
        "  median in a class              2       2",
        "  most in a class                2       2",
        "  classes with 2 to 3            3       3",
    ]
    assert clean(diagnosis) == diagnosis.readable == diagnosis.listed


def test_of_many_classes_the_first_few_are_named(tmp_path):
    for number in range(11):
        for name in "ab":
            plant(tmp_path / f"c{number:02d}" / f"{name}.png", f"{number}{name}")
    shown = report(diagnose(read_folder(tmp_path)))[:2]
    assert shown == [f"folder: 22 images below {tmp_path}", "11 classes: c00, c01, c02, ..."]


DEEP = "fold1/Crow/ fold1/Gull/ fold2/Crow/ fold2/Gull/"


@pytest.mark.parametrize(
    ("folders", "recurring"),
    [
        (DEEP, "fold1, fold2 (2): Crow, Gull."),
        (DEEP.replace("fold", "train/fold") + " test/fold1/Crow/", "fold1, fold2 (2): Crow, Gull."),
        ("Crow/ Crow/young/ Gull/young/ Gull/old/", None),  # photos in the folder of their class
        ("Crow/2019/ Crow/2020/ Gull/2021/ Gull/2022/", None),
        ("Crow/photos/ Gull/photos/", None),
    ],
)
def test_classes_that_lie_a_level_deeper_are_noted(tmp_path, folders, recurring):
    for folder in folders.split():
        for name in "abc":
            plant(tmp_path / folder / f"{name}.png", folder + name)
    diagnosis = diagnose(read_folder(tmp_path))
    assert not problems(diagnosis)
    start = "note: subfolders of one name in the classes "
    noted = [line for line in report(diagnosis) if line.startswith(start)]
    assert len(noted) == (recurring is not None)
    if recurring:
        assert noted[0].startswith(f"{start}{recurring} Classes are")
        assert "move them up there, those of one name into one" in noted[0]


def test_uneven_classes_are_counted(tmp_path):
    counts = {"Crow": 1, "Gull": 2, "Tern": 9}
    images = [("train", x, f"{x} {n}") for x, count in counts.items() for n in range(count)]
    diagnosis = diagnose(planted(tmp_path, [*images, *SOUND[6:], ("test", "Tern", "missing")]))
    assert report(diagnosis)[5:14] == [
        "  listed                        12       7",
        "  readable                      12       6",
        "  fewest in a class              1       2",
        "  median in a class              2       2",
        "  most in a class                9       2",
        "  classes with 1                 1       0",
        "  classes with 2 to 3            1       3",
        "  classes with 8 to 15           1       0",
        "",
    ]


def test_the_limit_of_pixels_is_the_run_s(tmp_path):
    listed = planted(tmp_path, SOUND)
    diagnosis = examine(listed, tiny_px=TINY_PX, num_threads=1, max_pixels=119)  # of 12 x 10
    assert (len(diagnosis.undecodable), diagnosis.readable) == (12, ())
    assert "expected at most data.max_pixels=119" in diagnosis.error


image = st.tuples(
    st.sampled_from(["train", "test"]),
    st.sampled_from(CLASSES),
    st.sampled_from([*PICTURES, "plain 1", "plain 10", *DAMAGE]),
)


@settings(deadline=None, max_examples=15)
@given(st.lists(image, max_size=10), st.sets(st.sampled_from(["a.jpg", "Crow/c.PNG", "d.txt"])))
def test_random_plantings(extra, others):
    images = [*SOUND[:2], *SOUND[-2:], *extra]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        diagnosis = diagnose(planted(root, images))
        for other in others:
            (root / other).parent.mkdir(exist_ok=True)
            (root / other).write_bytes(b"not opened")
        # Another look, of other threads, sees the files that came: and the same otherwise.
        lists = planted(root, images)
        diagnosis, before = diagnose(lists, num_threads=1), diagnosis
        assert diagnosis == before._replace(surplus=diagnosis.surplus, notes=diagnosis.notes)
        assert len(diagnosis.notes) == ("d.txt" in others)
    assert diagnosis.surplus == tuple(sorted(others - {"d.txt"}))

    shown = {
        f"{name}/{number:03d}.png": (split, name, picture)
        for number, (split, name, picture) in enumerate(images)
    }
    picture = {name: what for name, (_, _, what) in shown.items()}
    assert {(i.split, i.name, CLASSES[i.label]) for i in diagnosis.listed} == {
        (split, name, class_name) for name, (split, class_name, _) in shown.items()
    }

    def where(choices):
        return {name for name, what in picture.items() if what in choices}

    assert set(names(diagnosis.missing)) == where({"missing"})
    assert set(names(diagnosis.undecodable)) == where({"empty", "truncated"})
    assert set(names(diagnosis.readable)) == picture.keys() - where(DAMAGE)
    assert set(names(diagnosis.grey)) == where(GREY)
    assert set(names(diagnosis.tiny)) == where(TINY)
    assert (diagnosis.error == "") == (not diagnosis.undecodable)
    pairs = {(a, b) for group in diagnosis.twins for a, b in combinations(sorted(names(group)), 2)}
    readable = sorted(picture.keys() - where(DAMAGE))
    assert pairs == {(a, b) for a, b in combinations(readable, 2) if picture[a] == picture[b]}

    # Judgement, by going through all pairs.
    taught = {shown[name][1] for name in readable if shown[name][0] == "train"}
    two_labels = {
        picture[a]
        for a, b in pairs
        if shown[a][0] == shown[b][0] == "train" and shown[a][1] != shown[b][1]
    }
    both = {picture[a] for a, b in pairs if shown[a][0] != shown[b][0]}
    expected = {
        "missing images": len(diagnosis.missing),
        "unreadable images": len(diagnosis.undecodable),
        "classes without a readable training image": len(CLASSES) - len(taught),
        "pictures under two labels in train": len(two_labels),
        "pictures both in train and in test": len(both),
    }
    assert kinds(problems(diagnosis)) == {what: n for what, n in expected.items() if n}


@settings(deadline=None, max_examples=15)
@given(st.lists(image, max_size=14))
def test_what_is_clean_is_a_sound_set_as_large_as_can_be(extra):
    images = [*SOUND[:4], *SOUND[-4:], *extra]
    with tempfile.TemporaryDirectory() as folder:
        diagnosis = diagnose(planted(Path(folder) / "images", images))
        kept = clean(diagnosis)
        target = Path(folder) / "clean.csv"
        check_data.write_clean(target, diagnosis)
        again = read_csv(target)
        second = diagnose(again)
    expected = {(f"images/{i.name}", CLASSES[i.label], i.split) for i in kept}
    labels = again.class_names
    assert {(i.name, labels[i.label], i.split) for i in second.listed} == expected
    assert problems(second) == []
    assert not any(len({i.split for i in group}) > 1 for group in second.twins)
    assert not any(group[0].split == "train" for group in second.twins)

    # Nothing is left out without need.
    picture = {f"{name}/{number:03d}.png": what for number, (_, name, what) in enumerate(images)}
    in_test = {picture[i.name] for i in diagnosis.readable if i.split == "test"}
    labels_of = {}
    for i in diagnosis.readable:
        if i.split == "train":
            labels_of.setdefault(picture[i.name], set()).add(i.label)
    usable = {what for what, labels in labels_of.items() if len(labels) == 1} - in_test
    assert Counter(picture[i.name] for i in kept if i.split == "train") == Counter(usable)
    taught = {i.label for i in kept if i.split == "train"}
    assert [i for i in kept if i.split == "test"] == [
        i for i in diagnosis.readable if i.split == "test" and i.label in taught
    ]


def test_an_official_split_is_taken_as_it_is(tmp_path):
    images = [*SOUND, ("test", "Crow", "plain 0"), ("test", "Gull", "plain 10")]
    ours = diagnose(planted(tmp_path, images))
    theirs = diagnose(planted(tmp_path, images, official=(6, 8)))
    assert problems(ours) == [
        "pictures both in train and in test (1): Crow/000.png (train, Crow) = Crow/012.png "
        "(test, Crow). The score would be too high: take them out of one of the two."
    ]
    assert problems(theirs) == []
    notes = kinds(report(theirs))
    assert notes.pop("pictures both in train and in test") == 1
    assert notes == kinds(report(ours)) == {"pictures under two labels in test": 1}
    assert "  official                       6       8" in report(theirs)
    assert "Crow/000.png" not in names(clean(theirs))


def test_what_is_said_of_each_problem(tmp_path):
    crow, gull = ("train", "Crow"), ("train", "Gull")
    images = [
        (*crow, "plain"),
        (*gull, "plain"),
        (*crow, "missing"),
        (*gull, "truncated"),
        ("train", "Tern", "empty"),
        ("test", "Tern", "tiny"),
    ]
    diagnosis = diagnose(planted(tmp_path, images))
    said = problems(diagnosis)
    assert said[0] == (
        "missing images (1): Crow/002.png. Unpack the archive again, or set data.dir to the folder "
        "that holds all of it."
    )
    first = (
        f"unreadable images (2): Gull/003.png, Tern/004.png. The first: cannot decode '{tmp_path}"
    )
    assert said[1].startswith(first)
    assert said[1].endswith("; fetch it again, or take it off the list of images.")
    assert said[2:] == [
        "classes without a readable training image (1): Tern. Add images of each, or take the "
        "class off the lists.",
        "pictures under two labels in train (1): Crow/000.png (train, Crow) = Gull/001.png (train, "
        "Gull). Take the wrong ones off the lists.",
    ]
    assert (
        report(diagnosis)[-1] == "note: classes with one readable training image (2): Crow, Gull."
    )
    assert clean(diagnosis) == ()


def test_notes(tmp_path):
    images = [
        *SOUND,
        *[("train", "Crow", "grey")] * 5,
        ("test", "Gull", "tiny grey"),
        ("test", "Tern", "plain 10"),
    ]
    lists = planted(tmp_path, images[2:])  # Crow keeps five copies of one picture
    Image.new("RGB", (20, 20)).save(tmp_path / "new.JPG", format="JPEG")
    copies = " = ".join(f"Crow/{number:03d}.png (train, Crow)" for number in (10, 11, 12))
    assert report(diagnose(lists))[-5:] == [
        "note: image files that no list names (1): new.JPG.",
        "note: greyscale images (6): Crow/010.png, Crow/011.png, Crow/012.png, ...",
        "note: images with a side below 10 px (1): Gull/015.png.",
        f"note: pictures more than once in train (1): {copies} = 2 more.",
        "note: pictures more than once in test (1): Tern/008.png (test, Tern) = Tern/016.png "
        "(test, Tern).",
    ]


def test_thousands_of_findings_are_as_short_as_four(tmp_path):
    """And the folder need not be there."""
    images = [(split, name, "missing") for split in ("train", "test") for name in CLASSES * 1000]
    root = tmp_path / "nowhere"
    diagnosis = diagnose(planted(root, images))
    assert not root.exists()
    lines = [*report(diagnosis), *problems(diagnosis)]
    assert kinds(problems(diagnosis)) == {
        "missing images": 6000,
        "classes without a readable training image": 3,
    }
    assert sum(map(len, lines)) < 1000
    assert "  classes with 0                 3       3" in lines


class Drawn:
    """Images that are not files."""

    def __init__(self, images):
        self.images = images
        self.names = [str(number) for number in range(len(images))]
        self.labels = [0] * len(images)

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return Example(self.images[index], 0, np.full(4, np.nan, np.float32))


class Slow:
    """Draws its images, and watches how many there are at a time."""

    def __init__(self, first):
        self.names = [f"{first + number}" for number in range(40)]
        self.labels = [number % 3 for number in range(40)]
        self.alive, self.most = 0, 0

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        image = np.full((20, 20, 3), int(self.names[index]), np.uint8)
        image[0, 0] = (1, 2, 3)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(image, self._gone)
        time.sleep(0.004 if index % 4 == 0 else 0.001)  # so that they end in another order
        return Example(image, self.labels[index], np.full(4, np.nan, np.float32))

    def _gone(self):
        self.alive -= 1


def test_few_images_are_in_memory_and_their_order_is_the_lists(tmp_path):
    train, test = Slow(0), Slow(100)
    diagnosis = diagnose(Dataset("drawn", train, test, CLASSES), num_threads=4)
    assert diagnosis.listed == diagnosis.readable
    assert [*train.names, *test.names] == names(diagnosis.listed)
    assert 2 <= max(train.most, test.most) <= 8
    assert (diagnosis.root, diagnosis.twins, problems(diagnosis)) == (None, (), [])


def test_the_same_bytes_in_another_shape_are_another_picture():
    black = [np.zeros(shape, np.uint8) for shape in ((4, 6, 3), (6, 4, 3), (6, 4, 3))]
    sources = Drawn(black[:2]), Drawn(black[2:])
    assert [names(group) for group in diagnose(Dataset("drawn", *sources, CLASSES)).twins] == [
        ["1", "0"]
    ]


def test_the_built_in_birds_are_well():
    dataset = synthetic_dataset(num_train=24, num_test=12, image_size=32)
    diagnosis = diagnose(dataset)
    assert (problems(diagnosis), diagnosis.twins, diagnosis.grey) == ([], (), ())
    assert report(diagnosis)[0] == "synthetic: 36 images"


# ---------------------------------------------------------------------------- as a user calls it


@pytest.fixture
def cub(tmp_path):
    """Two classes of three photos in train and three in test, in the layout of CUB-200-2011."""
    rows = {
        "classes.txt": ["1 001.Crow", "2 002.Gull"],
        "images.txt": [f"{number} a b/{number}.png" for number in range(12)],
        "image_class_labels.txt": [f"{number} {1 + number % 2}" for number in range(12)],
        "train_test_split.txt": [f"{number} {int(number < 6)}" for number in range(12)],
    }
    for name, lines in rows.items():
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    for number in range(12):
        plant(tmp_path / "images" / "a b" / f"{number}.png", f"plain {number}")
    return tmp_path


def command(cub, *arguments):
    """Runs it in a process of its own, on devices that there are not."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "aftrans_jax.check_data"),
            *(CUB_CONFIG, f"--config.data.dir={cub}", *arguments),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "nosuch", "PYTHONIOENCODING": "ascii"},
    )


def test_a_clean_set_exits_with_0_and_needs_no_device(cub):
    done = command(cub)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nNo problems.\n")


def test_the_command_imports_neither_jax_nor_grain():
    """They take a second, search for devices and, in some versions, print warnings."""
    code = (
        "import sys, aftrans_jax.check_data, aftrans_jax.experiment.data\n"
        "print({'jax', 'grain'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_damaged_set_exits_with_1_and_what_is_usable_is_written(cub):
    folder, target = cub / "images" / "a b", cub / "clean.csv"
    (folder / "0.png").write_bytes(b"")
    (folder / "11.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "\udcff 鸟.jpg").write_bytes(b"")  # a name that is no UTF-8
    done = command(cub, f"--write={target}")
    assert done.returncode == 1
    assert done.stderr == "Training on this set as it is would be wrong.\n"
    for text in (
        "unreadable images (1): a b/0.png.",
        "no list names (1): a b/\\udcff \\u9e1f.jpg.",
    ):
        assert text in done.stdout
    assert done.stdout.splitlines()[-1] == (
        f"wrote {target}: 4 training and 6 test images; train on them by --config.data.name=csv "
        f"--config.data.dir={target}"
    )
    again = read_csv(target)
    assert again.class_names == ("Crow", "Gull")
    assert again.train.names == tuple(f"images/a b/{number}.png" for number in (1, 3, 4, 5))
    assert problems(diagnose(again)) == []


@pytest.fixture
def refused(monkeypatch):
    def run(*arguments):
        argv = ["check_data", *arguments]
        monkeypatch.setattr("sys.argv", argv)
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as caught:
            check_data.main(check_data.parse_flags(argv))
        return caught.value.code

    return run


def test_lists_that_cannot_be_read_are_one_line(refused, cub):
    (cub / "images.txt").write_text("1 ../../etc/passwd", encoding="utf-8")
    message = refused(CUB_CONFIG, f"--config.data.dir={cub}")
    assert message.startswith(f"error: {cub / 'images.txt'}, row 1: '1 ../../etc/passwd': expected")


def test_a_wrong_key_is_named(refused):
    message = refused(CUB_CONFIG, "--config.data.dirs=x")
    assert message.startswith("error: --config.data.dirs is no key of the configuration; did you m")


def test_a_list_of_what_is_usable_lies_above_the_images_and_replaces_nothing(refused, cub, capsys):
    directory = f"--config.data.dir={cub}"
    elsewhere = cub / "lists" / "clean.csv"
    elsewhere.parent.mkdir()
    assert refused(CUB_CONFIG, directory, f"--write={elsewhere}") == (
        f"error: --write={elsewhere}: expected a file in the folder of the images, {cub}/images, "
        f"or in one above it. Use --write={cub}/clean.csv"
    )
    assert refused(CUB_CONFIG, directory, f"--write={cub}/images.txt") == (
        f"error: --write={cub}/images.txt: expected a new file. Delete it or choose another."
    )
    demo = "--config=configs/demo.py"
    assert refused(demo, f"--write={cub}/clean.csv") == (
        "error: --write: the images of this set are not files. Leave the flag out."
    )
    assert capsys.readouterr().out == ""  # nothing has been opened


def test_what_no_list_can_name_is_refused_before_images_are_opened(refused, tmp_path, capsys):
    for number, name in enumerate(("Crow/1", "Crow/2", "Gull/1", "Gull/2\\3")):
        plant(tmp_path / "photos" / f"{name}.png", f"plain {number}")
    photos = ("--config=configs/folder.py", f"--config.data.dir={tmp_path / 'photos'}")
    message = refused(*photos, f"--write={tmp_path}/photos/clean.csv")
    assert message.startswith(f"error: {tmp_path}/photos/clean.csv: ('Gull/2\\\\3.png', ")
    assert capsys.readouterr().out == ""


def test_the_list_that_is_proposed_can_be_written(refused, tmp_path, capsys):
    """Wherever the command is called."""
    photos = tmp_path / "my photos"
    for number, name in enumerate(("train/Crow", "train/Gull", "test/Crow", "test/Gull")):
        plant(photos / name / "1.png", f"plain {number}")
    photos_given = ("--config=configs/folder.py", f"--config.data.dir={photos}")
    photos.joinpath("train/Crow/2.png").write_bytes(b"")
    said = refused(*photos_given)
    (flag,) = (word for word in shlex.split(said) if word.startswith("--write"))
    capsys.readouterr()
    refused(*photos_given, flag)
    last = capsys.readouterr().out.rpartition("train on them by ")[2]
    name, place = shlex.split(last.partition("\n")[0])
    assert name == "--config.data.name=csv"
    assert place == f"--config.data.dir={photos / 'clean.csv'}"


def test_twins_that_a_drawn_validation_split_divides_are_a_problem(cub, refused, capsys):
    for number in (2, 4):  # with 0, the training images of Crow
        plant(cub / "images" / "a b" / f"{number}.png", "plain 0")
    refused(CUB_CONFIG, f"--config.data.dir={cub}", "--config.data.validation_fraction=0.5")
    assert "problem: pictures both in train and in validation (1): " in capsys.readouterr().out
    assert problems(diagnose(read_cub(cub))) == []


def test_an_official_split_may_be_divided_without_twins_alone(tmp_path):
    """The drawn split is not official, the one for testing is."""
    images = [*SOUND, *(("train", "Crow", "plain 0"),) * 9, *(("train", "Gull", "plain 8"),) * 9]
    drawn = hold_out(planted(tmp_path, images, (24, 6)), 0.5, 0)
    diagnosis = diagnose(drawn)
    assert kinds(problems(diagnosis)) == {"pictures both in train and in validation": 2}
    notes = kinds(report(diagnosis))
    assert notes["pictures both in train and in test"] == 1
    assert notes["pictures both in validation and in test"] == 1


def test_too_little_is_not_written(refused, cub, capsys):
    for path in (cub / "images" / "a b").glob("*[13579].png"):
        path.unlink()
    message = refused(CUB_CONFIG, f"--config.data.dir={cub}", f"--write={cub}/clean.csv")
    assert message == (
        "error: --write: 3 training and 3 test images of 1 class are usable: expected at least "
        "two classes and a test image. See above."
    )
    assert "problem: missing images (6)" in capsys.readouterr().out
    assert not (cub / "clean.csv").exists()


def test_classes_of_one_name_stay_apart(cub):
    (cub / "classes.txt").write_text("1 001.Crow\n2 002.Crow", encoding="utf-8")
    check_data.write_clean(cub / "clean.csv", diagnose(read_cub(cub)))
    assert read_csv(cub / "clean.csv").class_names == ("Crow (1)", "Crow (2)")


def test_a_clean_list_keeps_the_numbers_of_the_classes(cub):
    """CUB's classes are in the order of their ids, a CSV file's in that of their names."""
    (cub / "classes.txt").write_text("1 001.Tern\n2 002.Gull", encoding="utf-8")
    official = read_cub(cub)
    assert official.class_names == ("Tern", "Gull")
    check_data.write_clean(cub / "clean.csv", diagnose(official))
    again = read_csv(cub / "clean.csv")
    assert again.class_names == ("0.Tern", "1.Gull")
    labels = dict(zip(official.train.names, official.train.labels, strict=True))
    for name, label in zip(again.train.names, again.train.labels, strict=True):
        assert labels[name.removeprefix("images/")] == label


def test_real_photos(real):
    diagnosis = diagnose(read_cub(real / "cub10"))
    assert problems(diagnosis) == []
    assert len(diagnosis.readable) == 543
    assert names(diagnosis.grey) == ["009.Brewer_Blackbird/Brewer_Blackbird_0028_2682.jpg"]
    assert (diagnosis.surplus, diagnosis.twins) == ((), ())
