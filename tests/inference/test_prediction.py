"""Photos of every kind to a model's image, and its boxes back to pixels of the photo."""

import io
import itertools
import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps, ImageSequence

from aftrans_jax.inference.prediction import Prediction, box_on_photo
from aftrans_jax.inference.preprocessing import is_one, prepare, prepared

SIZES = {"image_size": 24, "resize_size": 32}


def check(found: np.ndarray, image: Image.Image, name: str = "") -> None:
    """Compares with PIL's square of 32 px and its middle; a grey level is rounding between axes."""
    square = image.resize((32, 32), Image.Resampling.BILINEAR)
    expected = np.asarray(square.crop((4, 4, 28, 28)))
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1, err_msg=name)


def noise(rng, *shape) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


# ------------------------------------------------------------------------------- what may be given


def test_a_path_an_image_and_an_array_are_the_same_photo(rng, tmp_path):
    image = Image.fromarray(noise(rng, 50, 70, 3))
    image.save(tmp_path / "a.png")
    given = [tmp_path / "a.png", str(tmp_path / "a.png"), image, Image.open(tmp_path / "a.png")]
    given += [np.asarray(image), jnp.asarray(np.asarray(image))]
    for photo in given:
        found = prepare(photo, SIZES)
        assert (found.height, found.width) == (50, 70)
        check(found.image, image)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_turned_photo_is_read_upright_whoever_opens_it(rng, tmp_path, number):
    exif = Image.Exif()
    exif[0x0112] = number
    Image.fromarray(noise(rng, 40, 60, 3)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        upright = ImageOps.exif_transpose(opened)
        for photo in (tmp_path / "a.png", opened, upright):
            found = prepare(photo, SIZES)
            assert (found.width, found.height) == upright.size
            check(found.image, upright)


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_what_was_decoded_is_turned_by_its_xmp_where_no_tag_of_a_tiff_says_more(
    rng, tmp_path, kind
):
    path = tmp_path / "a"
    told = {"tiffinfo": {0x0112: 1, 700: XMP}} if kind == "TIFF" else {"xmp": XMP}
    Image.fromarray(noise(rng, 40, 60, 3)).save(path, kind, **told)
    with Image.open(path) as opened:
        opened.load()
        assert opened.info["xmp"] == XMP
        found = prepare(opened, SIZES)
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
    assert (found.width, found.height) == upright.size
    assert (upright.size == (60, 40)) == (kind == "TIFF")
    check(found.image, upright)


def test_grey_transparent_and_print_colours_are_read(rng, tmp_path):
    grey = Image.fromarray(noise(rng, 30, 20))
    clear = Image.fromarray(noise(rng, 30, 20, 4), "RGBA")
    white = Image.new("RGBA", clear.size, "white")
    print_colours = Image.fromarray(noise(rng, 30, 20, 4), "CMYK")
    deep = Image.fromarray(rng.integers(0, 2**16, (30, 20), dtype=np.uint16))
    cases = {
        "grey.png": (grey, grey.convert("RGB")),
        "clear.png": (clear, Image.alpha_composite(white, clear).convert("RGB")),
        "print.tif": (print_colours, print_colours.convert("RGB")),
        "palette.png": (grey.convert("P"), grey.convert("RGB")),
        "bits.png": (grey.convert("1"), grey.convert("1").convert("RGB")),
        "deep.png": (
            deep,
            Image.fromarray((np.asarray(deep) >> 8).astype(np.uint8)).convert("RGB"),
        ),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        for photo in (image, tmp_path / name, Image.open(tmp_path / name)):
            check(prepare(photo, SIZES).image, expected, name)


def test_half_a_jpeg_that_somebody_opened_is_refused_as_its_path_is(rng, tmp_path):
    image = Image.fromarray(noise(rng, 120, 160, 3))
    image.save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    for given in (tmp_path / "half.jpg", io.BytesIO((tmp_path / "half.jpg").read_bytes())):
        with Image.open(given) as opened, pytest.raises(ValueError, match="cannot decode"):
            prepare(opened, SIZES)
        with Image.open(given) as opened:
            ((_, found),) = prepared([opened], lambda photo: prepare(photo, SIZES), ahead=1)
            assert "cannot decode" in str(found)
    with Image.open(tmp_path / "a.jpg") as opened:
        expected = np.asarray(opened.copy())
    with Image.open(tmp_path / "a.jpg") as opened:
        first, again = prepare(opened, SIZES), prepare(opened, SIZES)
        np.testing.assert_array_equal(first.image, prepare(expected, SIZES).image)
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(np.asarray(opened), expected)


def test_what_was_changed_after_it_was_opened_is_taken_as_it_is(rng, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(rng, 120, 160, 3)).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        opened.draft("L", (80, 60))
        found = prepare(opened, SIZES)
        assert (found.height, found.width) == (80, 60)
        assert (found.image == found.image[..., :1]).all()
    with Image.open(tmp_path / "a.jpg") as opened:
        del opened.info["exif"]
        assert prepare(opened, SIZES).height == 120
    with Image.open(tmp_path / "a.jpg") as opened:
        opened.paste((7, 7, 7), (0, 0, 160, 120))
        assert (prepare(opened, SIZES).image == 7).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3)])
def test_a_photo_smaller_than_the_model_s_image_is_enlarged(rng, shape):
    found = prepare(noise(rng, *shape, 3), SIZES)
    assert found.image.shape == (24, 24, 3)
    assert (found.height, found.width) == shape


@pytest.mark.parametrize(
    ("photo", "error", "message"),
    [
        (np.zeros((8, 8, 3)), TypeError, r"pixels are float64: expected uint8 from 0 to 255"),
        (np.zeros((8, 8, 3), np.int32), TypeError, "pixels are int32"),
        (jnp.zeros((8, 8, 3)), TypeError, "pixels are float32"),
        (np.zeros((8, 8), np.uint8), ValueError, r"shape \(8, 8\): expected \[height width 3\]"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"shape \(3, 8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), ValueError, r"Image.fromarray"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, r"shape \(0, 8, 3\)"),
    ],
)
def test_what_is_no_photo_is_refused(photo, error, message):
    with pytest.raises(error, match=message):
        prepare(photo, SIZES)


@pytest.mark.parametrize(
    ("dtype", "high", "remedy"),
    [
        (np.int64, 255, "x.astype('uint8')"),
        (np.uint16, 200, "x.astype('uint8')"),
        (np.float32, 1, "(255 * x).round().astype('uint8')"),
        (np.float64, 254.6, "x.round().astype('uint8')"),
        (jnp.bfloat16, 128, "x.round().astype('uint8')"),
        (np.float32, 255.5, None),
        (np.float32, np.nan, None),
        (np.uint16, 65535, None),
    ],
)
def test_the_remedy_for_pixels_of_another_type_fits_their_values(dtype, high, remedy):
    """Taken by its word it gives the photo, and nothing wraps around."""
    x = np.linspace(0, high, 192).reshape(8, 8, 3).astype(dtype)
    with pytest.raises(TypeError) as caught:
        prepare(x, SIZES)
    said = str(caught.value)
    if remedy is None:
        assert said.endswith("scale them")
        return
    assert said.endswith(f"become that by {remedy}")
    pixels = eval(said.rpartition(" by ")[2])
    expected = x.astype(np.float64) * (255 if high == 1 else 1)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, expected, atol=0.5)


def test_one_photo_is_told_from_several(rng):
    assert all(map(is_one, ["a.jpg", Image.new("RGB", (2, 2)), noise(rng, 2, 2, 3)]))
    assert not any(map(is_one, [["a.jpg"], (), noise(rng, 5, 2, 2, 3), iter("ab"), {"a"}]))
    assert all(map(is_one, [None, 3, {"a": 1}, io.BytesIO()]))  # none of which is several photos
    assert not any(is_one(np.array(["a.jpg", "b.jpg"], kind)) for kind in ("U", "S", "O"))


def test_photos_are_taken_as_they_are_needed_and_errors_are_in_their_place(rng):
    taken = itertools.count()

    def endless():
        for number in taken:
            yield np.full((4, 4, 3 + (number == 1)), number % 256, np.uint8)

    stream = prepared(endless(), lambda photo: prepare(photo, SIZES), ahead=5)
    first, second, third = (found for _, found in itertools.islice(stream, 3))
    assert (first.image.max(), third.image.min()) == (0, 2)
    assert isinstance(second, ValueError)
    assert next(taken) <= 3 + 5 + 1
    stream.close()


def test_pixels_that_change_afterwards_are_those_of_their_turn(rng, tmp_path):
    """One buffer that is filled again and again, the frames of one image, and one open file."""
    levels = list(range(20, 220, 25))
    grey = [Image.new("L", (40, 40), level) for level in levels]
    grey[0].save(tmp_path / "a.gif", save_all=True, append_images=grey[1:])
    buffer = np.zeros((40, 40, 3), np.uint8)

    def refilled():
        for level in levels:
            buffer[:] = level
            yield buffer

    with Image.open(tmp_path / "a.gif") as film:
        for photos in (refilled(), ImageSequence.Iterator(film)):
            stream = prepared(photos, lambda photo: prepare(photo, SIZES), ahead=16)
            assert [int(found.image.max()) for _, found in stream] == levels
    image = Image.fromarray(noise(rng, 120, 120, 3))
    image.save(tmp_path / "a.jpg")
    expected = prepare(tmp_path / "a.jpg", SIZES).image
    with Image.open(tmp_path / "a.jpg") as opened:
        for _, found in prepared([opened] * 8, lambda photo: prepare(photo, SIZES), ahead=16):
            np.testing.assert_array_equal(found.image, expected)


def test_an_image_without_pixels_is_an_error_in_its_place(rng):
    photos = [Image.new("RGB", (0, 5)), Image.new("RGB", (4, 4), "white")]
    first, second = (
        found for _, found in prepared(photos, lambda photo: prepare(photo, SIZES), ahead=4)
    )
    assert "an image has 0 x 5 pixels" in str(first)
    assert second.image.min() == 255


# ------------------------------------------------------------------------------------- boxes, back


@pytest.mark.parametrize("height", [1, 7, 375, 500, 4032])
@pytest.mark.parametrize("sizes", [(448, 448), (448, 600), (24, 32), (33, 46)])
def test_a_box_holds_exactly_what_the_model_read(rng, height, sizes):
    image_size, resize_size = sizes
    sides = {"image_size": image_size, "resize_size": resize_size}
    offset = (resize_size - image_size) // 2
    width = int(rng.integers(1, 6000))
    for _ in range(50):
        top, bottom = sorted(rng.choice(image_size + 1, 2, replace=False).tolist())
        left, right = sorted(rng.choice(image_size + 1, 2, replace=False).tolist())
        found = box_on_photo((top, left, bottom, right), sides, height, width)
        tall, wide = Fraction(height, resize_size), Fraction(width, resize_size)
        assert found == (
            math.floor((top + offset) * tall),
            math.floor((left + offset) * wide),
            math.ceil((bottom + offset) * tall),
            math.ceil((right + offset) * wide),
        )
        assert 0 <= found[0] < found[2] <= height
        assert 0 <= found[1] < found[3] <= width


def test_a_mark_on_a_photo_is_where_the_box_says(rng):
    """A mark is painted, found on the model's image, and its box mapped back."""
    sizes = {"image_size": 96, "resize_size": 128}
    photo = np.zeros((300, 500, 3), np.uint8)
    photo[120:180, 200:320] = 255
    image = prepare(photo, sizes).image[..., 0]
    rows, cols = np.flatnonzero(image.max(1) > 127), np.flatnonzero(image.max(0) > 127)
    box = [int(x) for x in (rows[0], cols[0], rows[-1] + 1, cols[-1] + 1)]
    found = np.array(box_on_photo(box, sizes, 300, 500))
    assert np.abs(found - (120, 200, 180, 320)).max() <= 4  # a pixel of the model's is 2.3 x 3.9


def test_the_whole_image_is_the_whole_photo():
    sizes = {"image_size": 448, "resize_size": 448}
    assert box_on_photo((0, 0, 448, 448), sizes, 4032, 3024) == (0, 0, 4032, 3024)


def prediction(**changes) -> Prediction:
    probabilities = {"global": [0.2, 0.5, 0.3], "local": [0.1, 0.2, 0.7], "sum": [0.4, 0.4, 0.2]}
    fields = {
        "photo": "a.jpg",
        "head": "sum",
        "class_names": ("wren", "rook", "tern"),
        "probabilities": {name: np.array(x, np.float32) for name, x in probabilities.items()},
        "height": 30,
        "width": 40,
        "seen": (0, 0, 30, 40),
        "box": (1, 2, 3, 4),
        "relevance": None,
        "gates": None,
        "crop": None,
    }
    return Prediction(**fields | changes)


def test_answers_by_head_and_equal_ones_in_order():
    found = prediction()
    assert (found.answer, found.confidence) == ("wren", pytest.approx(0.4))
    assert [name for name, _ in found.top(3)] == ["wren", "rook", "tern"]
    assert found.top(1, "local") == [("tern", pytest.approx(0.7))]
    assert {head: name for head, (name, _) in found.answers.items()} == {
        "global": "rook",
        "local": "tern",
        "sum": "wren",
    }
    assert repr(found) == (
        "<Prediction 'a.jpg': 'wren' 40.0% by sum, global 'rook' 50.0%, local 'tern' 70.0%, "
        "box (1, 2, 3, 4) of 30 x 40 px>"
    )
    assert found.top(0) == []
    with pytest.raises(ValueError, match=r"top\(-1\): expected a number of classes"):
        found.top(-1)
    with pytest.raises(AttributeError):
        found.box = None
