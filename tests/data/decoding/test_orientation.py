"""Photos that cameras store on their side: the box turns with the picture."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from aftrans_jax.data.decoding.decode import decode_photo
from aftrans_jax.data.decoding.orientation import orientation, turn, turn_box
from aftrans_jax.data.sets.photos import PhotoSource, PhotoTable

BOX = (3, 5, 11, 25)  # of the file as it is stored


def stored():
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 255
    return pixels


def bounds(pixels):
    rows, columns = np.nonzero(pixels[..., 0] > 128)
    return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("number", range(9))
def test_the_box_stays_around_what_it_held(tmp_path, number, suffix):
    exif = Image.Exif()
    exif[0x0112] = number
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    options |= {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(stored()).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    boxes = np.array([BOX], np.float32)
    example = PhotoSource(PhotoTable(tmp_path, (f"a.{suffix}",), (0,), boxes))[0]
    assert example.image.shape[:2] == ((30, 20) if number > 4 else (20, 30))
    np.testing.assert_array_equal(example.box, bounds(example.image))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("number", [1, 4, 6])
def test_the_box_stays_around_what_it_held_where_xmp_alone_tells(tmp_path, number, suffix):
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="{number}"/></x:xmpmeta>'
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet)
    options = {
        "jpg": {"quality": 100, "subsampling": 0, "xmp": packet.encode()},
        "png": {"pnginfo": text},
        "tif": {"tiffinfo": {700: packet.encode()}},
        "webp": {"lossless": True, "xmp": packet.encode()},
    }
    Image.fromarray(stored()).save(tmp_path / f"a.{suffix}", **options[suffix])
    boxes = np.array([BOX], np.float32)
    example = PhotoSource(PhotoTable(tmp_path, (f"a.{suffix}",), (0,), boxes))[0]
    assert example.image.shape[:2] == ((30, 20) if number > 4 else (20, 30))
    np.testing.assert_array_equal(example.box, bounds(example.image))


@settings(deadline=None, max_examples=25)
@given(number=st.integers(1, 8), height=st.integers(1, 9), width=st.integers(1, 9))
def test_turning_is_that_of_pil(number, height, width):
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = number
    np.testing.assert_array_equal(turn(pixels, number), ImageOps.exif_transpose(image))
    assert np.isnan(turn_box(np.full(4, np.nan, np.float32), number, height, width)).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_metadata_in_both_byte_orders_and_damaged(order):
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    other = struct.pack(f"{order}HHII", 0x0100, 4, 1, 7)
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    block = head + struct.pack(f"{order}H", 2) + other + entry
    assert orientation(block) == orientation(b"Exif\0\0" + block) == 6
    for end in range(len(block) - 3):
        assert orientation(block[:end]) == 1
    assert orientation(b"", b'<x tiff:Orientation="8"/>') == 8
    assert orientation(b"", b"<tiff:Orientation>3</tiff:Orientation>") == 3
    assert orientation(block, b'tiff:Orientation="8"') == 6
    assert orientation(block.replace(entry, entry[:8] + b"\x63\x63\0\0")) == 1


def test_a_png_by_imagemagick_has_it_as_hexadecimal_text():
    exif = Image.Exif()
    exif[0x0112] = 6
    digits = (b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")).hex()

    for is_zipped in (False, True):
        text = PngInfo()
        text.add_text(
            "Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{digits}\n", zip=is_zipped
        )
        stream = io.BytesIO()
        Image.fromarray(stored()).save(stream, "PNG", pnginfo=text)
        assert decode_photo(stream.getvalue(), "a.png").orientation == 6
