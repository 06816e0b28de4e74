"""Decoding against PIL and hand-made files; resizing against PIL; boxes against painted pixels."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aftrans_jax.data import transforms
from aftrans_jax.data.transforms import Example, decode_image

FEW = settings(deadline=None, max_examples=25)
NO_BOX = np.full(4, np.nan, np.float32)
DECODERS = [None] if transforms._CV2 is None else [transforms._CV2, None]


@pytest.fixture(params=DECODERS, ids=lambda decoder: "cv2" if decoder else "pil")
def _decoder(request, monkeypatch):
    monkeypatch.setattr(transforms, "_CV2", request.param)


BOTH = pytest.mark.usefixtures("_decoder")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def smooth(height=48, width=80):
    """Colours that JPEG keeps: (row, column, 100)."""
    rows, cols = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows * 3, cols * 2, np.full_like(rows, 100)], axis=-1)


@BOTH
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}])
def test_a_jpeg_decodes_as_pil_decodes_it(tmp_path, options):
    path = saved(Image.fromarray(smooth()), tmp_path / "a.jpg", **options)
    np.testing.assert_array_equal(decode_image(path), np.asarray(Image.open(path).convert("RGB")))
    assert np.abs(decode_image(str(path)).astype(int) - smooth()).max() < 12


@BOTH
@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_lossless_files_decode_exactly(tmp_path, suffix):
    pixels = noise(5, 7)
    decoded = decode_image(saved(Image.fromarray(pixels), tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(decoded, pixels)
    assert decoded.dtype == np.uint8


@BOTH
def test_one_pixel(tmp_path):
    for name in ("a.png", "a.jpg"):
        path = saved(Image.new("RGB", (1, 1), (9, 9, 9)), tmp_path / name)
        np.testing.assert_array_equal(decode_image(path), [[[9, 9, 9]]])


@BOTH
def test_greyscale_is_the_same_in_three_channels(tmp_path):
    for name in ("a.jpg", "a.png"):
        decoded = decode_image(saved(Image.new("L", (6, 4), 77), tmp_path / name))
        np.testing.assert_array_equal(decoded, np.full((4, 6, 3), 77))
    decoded = decode_image(saved(Image.new("1", (6, 4), 1), tmp_path / "one_bit.png"))
    np.testing.assert_array_equal(decoded, np.full((4, 6, 3), 255))


@BOTH
@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_keep_their_upper_eight(tmp_path, suffix):
    values = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    decoded = decode_image(saved(Image.fromarray(values), tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(decoded[..., 1], [[0, 0, 1], [127, 128, 255]])


@BOTH
def test_cmyk_becomes_rgb(tmp_path):
    inks = {(0, 255, 255, 0): (255, 0, 0), (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0)}
    for ink, colour in inks.items():
        path = saved(Image.new("CMYK", (16, 16), ink), tmp_path / "a.jpg", quality=100)
        assert np.abs(decode_image(path).astype(int) - colour).max() <= 3


@BOTH
def test_alpha_is_dropped(tmp_path):
    for mode, colour in {"RGBA": (10, 20, 30, 0), "LA": (40, 128)}.items():
        decoded = decode_image(saved(Image.new(mode, (3, 2), colour), tmp_path / "a.png"))
        expected = (10, 20, 30) if mode == "RGBA" else (40, 40, 40)
        np.testing.assert_array_equal(decoded, np.broadcast_to(expected, (2, 3, 3)))


@BOTH
def test_a_palette_with_transparent_entries(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    path = saved(image, tmp_path / "a.png", transparency=b"\x00\x80")
    np.testing.assert_array_equal(decode_image(path), np.broadcast_to((200, 100, 50), (2, 3, 3)))


@BOTH
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (0, lambda stored: stored),  # written by some cameras; means nothing
        (1, lambda stored: stored),
        (2, lambda stored: stored[:, ::-1]),
        (3, lambda stored: stored[::-1, ::-1]),
        (4, lambda stored: stored[::-1]),
        (5, lambda stored: stored.swapaxes(0, 1)),
        (6, lambda stored: np.rot90(stored, -1)),  # a phone held upright: turn clockwise
        (7, lambda stored: stored[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda stored: np.rot90(stored)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, tolerance in (("a.jpg", 12), ("a.png", 0)):
        path = saved(Image.fromarray(smooth()), tmp_path / name, exif=exif)
        expected = upright(smooth()).astype(int)
        assert decode_image(path).shape == expected.shape
        assert np.abs(decode_image(path) - expected).max() <= tolerance


def jpeg_bytes():
    stream = io.BytesIO()
    Image.fromarray(noise(40, 60)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("decoder", DECODERS)
@FEW
@given(share=st.floats(0, 0.99))
def test_a_truncated_jpeg_is_an_error(tmp_path_factory, decoder, share):
    data = jpeg_bytes()
    path = tmp_path_factory.mktemp("cut") / "bird 7.jpg"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "_CV2", decoder)
        with pytest.raises(ValueError, match=r"bird 7\.jpg.*fetch it again"):
            decode_image(path)


@BOTH
def test_what_follows_a_whole_jpeg_does_not_matter(tmp_path):
    whole, padded = tmp_path / "whole.jpg", tmp_path / "padded.jpg"
    whole.write_bytes(jpeg_bytes())
    padded.write_bytes(jpeg_bytes() + bytes(100))
    np.testing.assert_array_equal(decode_image(padded), decode_image(whole))


@BOTH
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"\(0 bytes\): no image format begins like this"),
        (b"404: Not Found", r"\(14 bytes\): no image format begins like this"),
        (jpeg_bytes()[:-400], "truncated"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\xff\xd9", ""),
    ],
    ids=["empty", "text", "truncated", "headless"],
)
def test_a_file_that_is_no_image_is_named(tmp_path, content, reason):
    path = tmp_path / "bird.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bird\.jpg.*{reason}.*Expected a complete image file"):
        decode_image(path)


@BOTH
def test_a_damaged_png_is_named(tmp_path):
    path = saved(Image.fromarray(noise(20, 20)), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"a\.png"):
        decode_image(path)


def test_an_absent_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nobody\.jpg"):
        decode_image(tmp_path / "nobody.jpg")


@pytest.mark.parametrize("decoder", DECODERS)
@FEW
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 64))
def test_resizing_agrees_with_pil_within_one_grey_level(decoder, height, width, size):
    pixels = noise(height, width, seed=height * width)
    oracle = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms, "_CV2", decoder)
        resized = transforms.test_transform(
            Example(pixels, 3, NO_BOX), image_size=size, resize_size=size
        )
    assert np.abs(resized.image.astype(int) - oracle).max() <= 1
    assert resized.image.dtype == np.uint8
    assert resized.label == 3


def painted(side, box):
    """An image whose pixels say where they are, and whether they are inside the box."""
    image = np.stack([*np.mgrid[:side, :side], np.zeros((side, side))], axis=-1).astype(np.uint8)
    top, left, bottom, right = box
    image[top:bottom, left:right, 2] = 255
    return Example(image, 0, np.array(box, np.float32))


BOXES = st.tuples(
    st.integers(0, 15), st.integers(0, 15), st.integers(1, 16), st.integers(1, 16)
).map(lambda b: (min(b[0], b[2] - 1), min(b[1], b[3] - 1), b[2], b[3]))


@FEW
@given(box=BOXES, size=st.integers(4, 16), seed=st.integers(0, 10**6))
def test_the_box_stays_around_what_it_held(box, size, seed):
    example = painted(16, box)
    rng = np.random.default_rng(seed)
    image, _, moved = transforms.train_transform(example, rng, image_size=size, resize_size=16)
    assert image.shape == (size, size, 3)
    assert image.flags.c_contiguous
    rows, cols = np.nonzero(image[..., 2])
    if rows.size:
        np.testing.assert_array_equal(
            moved, [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]
        )
    else:  # cropped away: nothing is left of it
        assert (moved[2] - moved[0]) * (moved[3] - moved[1]) == 0
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(np.diff(image[..., 0].astype(int), axis=0), 1)  # one window
    assert len(np.unique(np.diff(image[..., 1].astype(int), axis=1))) == 1


def test_every_crop_and_both_flips_occur():
    rng = np.random.default_rng(0)
    example = painted(8, (0, 0, 8, 8))
    drawn = [
        transforms.train_transform(example, rng, image_size=6, resize_size=8).image
        for _ in range(400)
    ]
    tops = {int(image[0, 0, 0]) for image in drawn}
    lefts = {int(image[..., 1].min()) for image in drawn}
    assert tops == lefts == {0, 1, 2}
    flipped = sum(bool(image[0, 0, 1] > image[0, -1, 1]) for image in drawn)
    assert 160 < flipped < 240  # four standard deviations


def test_the_same_generator_gives_the_same_crop_and_the_input_is_left_alone():
    example = Example(noise(20, 30), 1, np.array([2, 3, 8, 9], np.float32))
    before = example.image.copy(), example.box.copy()
    crops = [
        transforms.train_transform(example, np.random.default_rng(5), image_size=12, resize_size=16)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(crops[0].image, crops[1].image)
    np.testing.assert_array_equal(crops[0].box, crops[1].box)
    np.testing.assert_array_equal(example.image, before[0])
    np.testing.assert_array_equal(example.box, before[1])


def test_golden_central_crop_and_box():
    # 10 x 20 becomes 40 x 40: rows grow 4 times, columns twice; 6 pixels go on every side.
    example = Example(noise(10, 20), 0, np.array([2, 5, 9, 20], np.float32))
    cropped = transforms.test_transform(example, image_size=28, resize_size=40)
    np.testing.assert_array_equal(cropped.box, [2, 4, 28, 28])
    resized = Image.fromarray(example.image).resize((40, 40), Image.Resampling.BILINEAR)
    oracle = np.asarray(resized.crop((6, 6, 34, 34))).astype(int)
    assert np.abs(cropped.image - oracle).max() <= 1


def test_a_missing_box_stays_missing():
    example = Example(noise(8, 8), 0, NO_BOX)
    rng = np.random.default_rng(0)
    for _ in range(4):  # with and without a flip
        moved = transforms.train_transform(example, rng, image_size=4, resize_size=6).box
        assert np.isnan(moved).all()


@pytest.mark.parametrize(("image_size", "resize_size"), [(9, 8), (0, 8)])
def test_a_crop_that_does_not_fit_is_refused(image_size, resize_size):
    match = rf"image_size {image_size} .*resize_size {resize_size}.*Raise data\.resize_size"
    sizes = {"image_size": image_size, "resize_size": resize_size}
    with pytest.raises(ValueError, match=match):
        transforms.test_transform(Example(noise(8, 8), 0, NO_BOX), **sizes)
    with pytest.raises(ValueError, match=match):
        transforms.train_transform(
            Example(noise(8, 8), 0, NO_BOX), np.random.default_rng(0), **sizes
        )
