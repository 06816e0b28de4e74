"""A loaded model on four devices says what it says on one, of any number of photos."""

import jax
import numpy as np
import pytest
from experiments import tiny_variants
from PIL import Image

import aftrans_jax as aft
from aftrans_jax.inference.classifier import Classifier
from aftrans_jax.inference.explanation import explanations
from aftrans_jax.inference.trained_model import Trained, load_trained, save_trained
from aftrans_jax.model import attention
from benchmarks.harness.hlo import collectives, num_loops

PER_DEVICE = 2  # photos of a batch; one device runs the program of each of four, to the bit


@pytest.fixture(scope="module")
def trained(trained_run) -> Trained:
    with tiny_variants():
        return load_trained(trained_run)


@pytest.fixture(scope="module")
def on_one(trained) -> Classifier:
    with jax.default_device(jax.devices()[1]):
        return Classifier(trained, batch_size=PER_DEVICE)


@pytest.fixture(scope="module")
def on_four(trained, tmp_path_factory) -> Classifier:
    path = tmp_path_factory.mktemp("whole") / "aftrans.npz"
    save_trained(path, trained)
    with tiny_variants():
        return aft.load(path, batch_size=4 * PER_DEVICE - 1)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + number, 50, 3), np.uint8) for number in range(19)]


def assert_same(one: aft.Prediction, other: aft.Prediction) -> None:
    assert (one.answers, one.box, one.seen) == (other.answers, other.box, other.seen)
    for name in ("probabilities", "relevance", "gates", "crop"):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, name), getattr(other, name))


def test_kernels_are_those_of_the_device_that_a_model_was_loaded_for(trained, images, monkeypatch):
    asked = []
    ask = attention.default_device
    monkeypatch.setattr(attention, "default_device", lambda: asked.append(ask()) or asked[-1])
    with jax.default_device(jax.devices()[2]):
        model = Classifier(trained, batch_size=PER_DEVICE)
    model(images[0])
    assert set(asked) == {jax.devices()[2]}


@pytest.mark.parametrize("number", [2, 8, 11, 19])
def test_four_devices_say_what_one_says(on_one, on_four, images, number):
    """Fewer than the devices, one batch, and batches of which the last has 3."""
    expected = on_one(images[:number])
    assert len({photo.box for photo in on_one(images)}) > 1  # or equality would say little
    for one, other in zip(on_four(images[:number]), expected, strict=True):
        assert_same(one, other)


def test_a_single_photo_is_that_of_one_device(on_one, on_four, images):
    for image in images[:3]:
        assert_same(on_four(image), on_one(image))


def test_one_that_cannot_be_read_moves_no_other(on_one, on_four, images, tmp_path):
    photos = [*images[:5], tmp_path / "absent.jpg", *images[5:10]]
    found = [prediction for _, prediction in on_four.stream(photos)]
    assert isinstance(found.pop(5), FileNotFoundError)
    for one, other in zip(found, on_one(images[:10]), strict=True):
        assert_same(one, other)


def test_each_device_has_the_parameters_and_its_rows_and_asks_no_other(on_one, on_four):
    for model, numbers in ((on_one, [1]), (on_four, [0, 1, 2, 3])):
        devices = {jax.devices()[number] for number in numbers}
        for leaf in jax.tree.leaves(model.params):
            assert leaf.devices() == devices
            assert leaf.is_fully_replicated
        size = PER_DEVICE * len(devices)
        batch = np.zeros((size, 32, 32, 3), np.uint8)
        compiled = model._outputs.lower(model.params, batch).compile()
        (_, rows), _ = compiled.input_shardings
        assert rows.device_set == devices
        assert rows.shard_shape(batch.shape) == (PER_DEVICE, 32, 32, 3)
        text = compiled.as_text()
        assert num_loops(text) > 0  # of the labelling, which every device ends by itself
        assert not collectives(text)


def test_an_explanation_is_that_of_one_device(trained, images, tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image).save(path)
    found = list(explanations(trained, paths))
    with jax.default_device(jax.devices()[0]):
        expected = list(explanations(trained, paths, batch_size=1))
    for one, other in zip(found, expected, strict=True):
        assert (one.box, one.answers) == (other.box, other.answers)
        for name in ("gate", "layer_rows", "relevance", "mask"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
