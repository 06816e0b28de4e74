"""Photos as they are stored in a page."""

import io
import math

import numpy as np
import pytest
from pages import picture
from PIL import Image

from aftrans_jax.report.photos import Rectangle, encoded_photos, rectangle


def test_photos_are_shrunk_until_all_fit(rng):
    noise = [picture(image=rng.integers(0, 256, (600, 800, 3), np.uint8)) for _ in range(12)]
    photos = encoded_photos(noise)
    assert sum(len(photo.file.data) for photo in photos) <= 1_900_000
    assert {photo.width / photo.height for photo in photos} == {4 / 3}
    flat = encoded_photos([picture(image=np.zeros((600, 800, 3), np.uint8))])[0]
    assert (flat.width, flat.height) == (640, 480)


def test_heat_maps_share_the_room_of_the_photos(rng, monkeypatch):
    noise = picture(image=rng.integers(0, 256, (640, 640, 3), np.uint8))
    (plain,) = encoded_photos([noise._replace(relevance=None)])
    assert plain.width == 640
    monkeypatch.setattr("aftrans_jax.report.photos._ROOM", len(plain.file.data))
    (photo,) = encoded_photos([noise])
    assert photo.width == 512
    assert len(photo.file.data) + len(photo.heat.data) <= len(plain.file.data)


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (1, 300), (700, 2), (90, 900)])
def test_files_are_what_they_say(shape):
    (photo,) = encoded_photos([picture(image=np.zeros((*shape, 3), np.uint8))])
    for file, size in ((photo.file, (photo.width, photo.height)), (photo.heat, (28, 28))):
        image = Image.open(io.BytesIO(file.data))
        assert (image.format.lower(), image.size) == (file.kind, size)
    assert photo.is_crisp == (max(shape) < 128)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 100, 200), (0, 0, 99.9, 49.9)),  # within half the image's px
        ((10, 20, 30, 80), (10, 5, 30, 10)),
        ((-5, -5, 300, 300), (0, 0, 99.9, 49.9)),
        ((40, 60, 40, 60), (30, 20, 0.1, 0.1)),
    ],
)
def test_rectangle_golden(box, expected):
    image = np.zeros((100, 200, 3), np.uint8)
    photo = encoded_photos([picture(image=image[::2, ::2])])[0]
    assert rectangle(box, image, photo) == pytest.approx(Rectangle(*expected))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_box_that_is_not_finite_is_none(bad):
    image = picture().image
    assert rectangle((0, bad, 4, 4), image, encoded_photos([picture()])[0]) is None
