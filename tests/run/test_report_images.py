"""The report's photos in their own shape, against the pixels that the model is given."""

from types import SimpleNamespace

import numpy as np
import pytest
from experiments import tiny_experiment
from PIL import Image

from aftrans_jax.data.examples import Dataset, Example
from aftrans_jax.data.loading.cache import ResizedCache
from aftrans_jax.data.loading.transforms import test_transform as transformed
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable
from aftrans_jax.data.sets.tfds_source import TfdsSource
from aftrans_jax.report.shown_images import choose
from aftrans_jax.report.statistics import SplitPredictions
from aftrans_jax.run.report_images import ShownImages, pictures, seen, shown_images
from aftrans_jax.training.evaluation import Evaluation

SIZES = ("image_size", "resize_size")
WHITE = (40, 90, 120, 180)  # in a black photo of 200 x 300 px


class OnePhoto:
    names, labels = ("a.jpg",), (0,)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        image = np.zeros((200, 300, 3), np.uint8)
        top, left, bottom, right = WHITE
        image[top:bottom, left:right] = 255
        return Example(image, 0, np.array(WHITE, np.float32))


def shown(source, sizes):
    """The picture of a source's one image, in which the model's box is the white part."""
    seen = transformed(OnePhoto()[0], **sizes)
    rows, cols = (seen.image[..., 0] > 127).nonzero()
    box = np.array([[rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]])  # a perfect region
    zeros = np.zeros(1, np.int32)
    heads = {"global": zeros}, {"global": np.ones(1, np.float32)}
    answers = SplitPredictions(zeros, *heads, "global", ("a",))
    outcomes = {"index": zeros, "label": zeros, "predicted": heads[0], "confidence": heads[1]}
    evaluation = Evaluation({}, 1, outcomes | {"box": box})
    shown = ShownImages(answers, choose(answers, 3), np.ones((1, 2, 2), np.float32))
    (picture,) = pictures(shown, Dataset("one", source, source, ("a",)), evaluation, sizes).values()
    return picture


@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("resize_size", [224, 300])
def test_boxes_lie_on_the_photo_where_the_model_saw_them(is_cached, resize_size):
    source = ResizedCache(OnePhoto(), resize_size) if is_cached else OnePhoto()
    picture = shown(source, {"image_size": 224, "resize_size": resize_size})
    height, width, _ = picture.image.shape
    assert width / height == pytest.approx(1.5, abs=0.02)  # not squashed
    assert width == pytest.approx(300 * 224 / resize_size, abs=1)  # what the model saw of it
    rows, cols = (picture.image[..., 0] > 127).nonzero()
    white = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
    assert picture.annotated_box == pytest.approx(white, abs=1)
    assert picture.box == pytest.approx(white, abs=2)
    assert picture.name == "a.jpg"


def test_a_box_ends_where_what_the_model_saw_does():
    """It saw the middle half of 200 x 300 px: from row 50 and column 75."""
    example = Example(np.zeros((200, 300, 3), np.uint8), 0, np.array([0, 75, 60, 300], np.float32))
    _, box = seen(example, {"image_size": 112, "resize_size": 224}, 300)
    np.testing.assert_allclose(box, [0, 0, 0.1, 1], atol=1e-6)


class Numbered:
    """Photos of 40 px, each of a brightness and a box of its own."""

    names, labels = tuple(f"{number}.jpg" for number in range(8)), (0,) * 8

    def __len__(self):
        return 8

    def __getitem__(self, index):
        box = np.array([index, 0, 40, 40], np.float32)
        return Example(np.full((40, 40, 3), 10 * index, np.uint8), 0, box)


def test_each_image_has_its_own_pixels_box_and_relevance_where_some_were_not_read():
    """Rows of an evaluation are not the places of a split: of eight images three were scored."""
    index, zeros = np.array([6, 3, 1], np.int32), np.zeros(3, np.int32)
    outcomes = {
        "index": index,
        "label": zeros,
        "predicted": {"global": zeros},
        "confidence": {"global": np.full(3, 0.5, np.float32)},
        "box": np.array([[0, 0, 20, 10 * row] for row in (1, 2, 3)]),
    }
    asked = []

    def relevance(state, places):
        asked.extend(places)
        return np.array(places, np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)

    dataset = Dataset("own", Numbered(), Numbered(), ("a",))
    changed = {"evaluator": SimpleNamespace(relevance=relevance), "dataset": dataset}
    experiment = tiny_experiment(model__name="vit")._replace(**changed)
    found = shown_images(experiment, experiment.state, Evaluation({}, 3, outcomes))
    rows = found.chosen.rows()
    assert asked == [int(index[row]) for row in rows]
    assert len(rows) >= 2
    shown = pictures(found, dataset, Evaluation({}, 3, outcomes), dict.fromkeys(SIZES, 40))
    assert list(shown) == rows
    for row, picture in shown.items():
        place = int(index[row])
        assert picture.name == f"{place}.jpg"
        assert (picture.image == 10 * place).all()
        assert picture.annotated_box == (place, 0, 40, 40)
        assert picture.box == (0, 0, 20, 10 * (row + 1))
        assert (picture.relevance == place).all()


def as_file(tmp_path):
    Image.fromarray(OnePhoto()[0].image).save(tmp_path / "a.jpg", quality=95)
    boxes = np.array([WHITE], np.float32)
    return PhotoSource(PhotoTable(tmp_path, ("a.jpg",), (0,), boxes), resize_size=40)


def as_record(tmp_path):
    data = as_file(tmp_path).table.path(0).read_bytes()
    box = np.array(WHITE) / [200, 300, 200, 300]
    record = {"image": data, "label": 0, "bbox": box, "image/filename": b"a.jpg"}
    return TfdsSource([record], tmp_path, "test", 1, resize_size=40)


@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("made", [as_file, as_record])
def test_large_photos_that_are_read_as_squares_keep_their_shape(made, is_cached, tmp_path):
    source = made(tmp_path)
    assert source[0].image.shape == (40, 40, 3)
    picture = shown(ResizedCache(source, 40) if is_cached else source, dict.fromkeys(SIZES, 40))
    assert picture.image.shape == (200, 300, 3)
    assert picture.annotated_box == pytest.approx(WHITE, abs=1e-3)
    assert picture.box == pytest.approx(WHITE, abs=8)  # a px of 40
