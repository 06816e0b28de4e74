"""Bit depths and transparency of files made by hand, against samples computed here."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from aftrans_jax.data.decoding.decode import decode_photo

RAMP = np.linspace(0, 1, 48).reshape(6, 8)
SHORT, LONG = 3, 4
KINDS = {"u": 1, "i": 2, "f": 3}  # SampleFormat


def tiff(samples, *, order="<", **tags):
    """An uncompressed TIFF; `tags` are further ones, such as t281=4095."""
    samples = np.atleast_3d(samples)
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    entries = {
        **{256: width, 257: height, 259: 1, 262: 2 if channels > 2 else 1, 273: 8},
        **{258: bits, 277: channels, 278: height, 279: len(data), 339: KINDS[samples.dtype.kind]},
        **{int(name[1:]): value for name, value in tags.items()},
    }
    start, extra = 8 + len(data), b""
    behind = start + 2 + 12 * len(entries) + 4
    rows = b""
    for tag, value in sorted(entries.items()):
        if channels > 2 and tag in (258, 281, 339):
            rows += struct.pack(f"{order}HHII", tag, SHORT, channels, behind + len(extra))
            extra += struct.pack(f"{order}{channels}H", *[value] * channels)
        else:
            rows += struct.pack(f"{order}HHII", tag, LONG, 1, value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + data + struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + extra


def png(samples, *, bits=16, **chunks):
    """A PNG of 16 bits a sample, or fewer; `chunks` stand before the data, such as sBIT=b"\x0c"."""
    samples = np.atleast_3d(samples)
    height, width, channels = samples.shape
    sample_bits = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, -1, 2), axis=2)
    packed = np.packbits(sample_bits[..., 16 - bits :].reshape(height, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    head = struct.pack(">IIBBBBB", width, height, bits, [0, 4, 2, 6][channels - 1], 0, 0, 0)
    parts = [(b"IHDR", head), *((name.encode(), body) for name, body in chunks.items())]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in [*parts, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]:
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    return data


def decoded(data):
    pixels, _, guess, *_ = decode_photo(data, "bird.tif")
    return pixels, guess


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_tiff_that_uses_some_of_16_bits(bits, channels, order):
    samples = np.repeat((RAMP * (2**bits - 1)).astype("u2")[..., None], channels, axis=2)
    samples[0, 0] = [2 ** (bits - 1), 5, 9][:channels]
    expected = np.broadcast_to(samples >> (bits - 8), (6, 8, 3))
    pixels, guess = decoded(tiff(samples, order=order))
    np.testing.assert_array_equal(pixels, expected)
    assert guess == "" if bits == 16 else f"read as {bits} bits" in guess
    pixels, guess = decoded(tiff(samples, order=order, t281=2**bits - 1))  # MaxSampleValue
    np.testing.assert_array_equal(pixels, expected)
    assert guess == ""


@pytest.mark.parametrize("bits", [12, 16])
def test_grey_of_16_bits_whose_white_is_zero(bits):
    samples = (RAMP * (2**bits - 1)).astype("u2")
    shown = decoded(tiff(samples, t262=0))[0]
    np.testing.assert_array_equal(shown[..., 0], 255 - (samples >> (bits - 8)))
    fractions = decoded(tiff(RAMP.astype("f4"), t262=0))[0]
    np.testing.assert_array_equal(fractions[..., 0], 255 - np.rint(RAMP * 255))


def test_a_dark_picture_is_dark_where_the_file_tells_its_depth():
    samples = (RAMP * 4095).astype("u2")
    np.testing.assert_array_equal(decoded(tiff(samples, t281=65535))[0][..., 0], samples >> 8)
    pixels, guess = decoded(png(samples, sBIT=b"\x10"))
    np.testing.assert_array_equal(pixels[..., 0], samples >> 8)
    assert guess == ""


@pytest.mark.parametrize(
    ("samples", "expected", "said"),
    [
        ((RAMP * 255).astype("i4"), RAMP * 255 // 1, "0 to 255 read as 8 bits"),
        ((RAMP * (2**16 - 1)).astype("i4"), RAMP * 65535 // 256, "read as 16 bits"),
        (RAMP.astype("f4"), np.rint(RAMP * 255), "from 0 to 1 read as 0 to 1"),
        ((RAMP * 255).astype("f4"), RAMP * 255 // 1, "read as 8 bits"),
        ((RAMP * 2 - 1).astype("f4"), np.rint(RAMP * 255), "from -1 to 1 read as black to white"),
        (((RAMP * 2 - 1) * 1000).astype("i2"), np.rint(RAMP * 255), "black to white"),
        (np.zeros((6, 8), "u2"), np.zeros((6, 8)), "0 to 0 read as 8 bits"),
        ((RAMP * 1.02).astype("f4"), np.rint(np.minimum(RAMP * 1.02, 1) * 255), "read as 0 to 1"),
        ((RAMP * 260).astype("f4"), np.minimum(RAMP * 260, 255) // 1, "read as 8 bits"),
        ((RAMP * (2**32 - 1)).astype("u4"), RAMP * 255 // 1, "read as 32 bits"),
    ],
)
def test_where_the_file_says_nothing_its_values_do(samples, expected, said):
    pixels, guess = decoded(tiff(samples))
    assert np.abs(pixels - expected[..., None]).max() <= 1
    assert said in guess


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match=r"bird\.tif.*not finite"):
        decoded(tiff(np.full((6, 8), value, "f4")))


def test_what_is_transparent_is_on_white():
    pixels = np.full((4, 6, 4), (200, 10, 10, 0), np.uint8)
    pixels[1] = (0, 0, 250, 255)
    pixels[2] = (100, 100, 100, 51)  # a fifth of it, and four of white
    for kind in ("PNG", "WEBP", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **{"lossless": True} if kind == "WEBP" else {})
        found, _ = decoded(stream.getvalue())
        np.testing.assert_array_equal(found[:, 0], [[255] * 3, [0, 0, 250], [224] * 3, [255] * 3])
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    for image, transparent in ((Image.new("RGB", (3, 3), (7, 8, 9)), (7, 8, 9)), (palette, 1)):
        stream = io.BytesIO()
        image.save(stream, "PNG", transparency=transparent)  # as a chunk tRNS
        assert (decoded(stream.getvalue())[0] == 255).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_png_that_uses_some_of_16_bits(bits, channels):
    samples = np.repeat((RAMP * (2**bits - 1)).astype("u2")[..., None], channels, axis=2)
    if channels in (2, 4):
        samples[..., -1] = 2**bits - 1
    expected = np.broadcast_to(samples[..., :1] >> (bits - 8), (6, 8, 3))
    pixels, guess = decoded(png(samples))
    np.testing.assert_array_equal(pixels, expected)
    assert guess == "" if bits == 16 else f"read as {bits} bits" in guess
    pixels, guess = decoded(png(samples, sBIT=bytes([bits] * channels)))
    np.testing.assert_array_equal(pixels, expected)
    assert guess == ""


def test_a_png_of_12_bits_may_be_scaled_to_16_as_the_standard_says():
    samples = (RAMP * 4095).astype("u2") << 4
    pixels, guess = decoded(png(samples, sBIT=b"\x0c"))
    np.testing.assert_array_equal(pixels[..., 0], samples >> 8)
    assert guess == ""


@pytest.mark.parametrize("extra", [1, 2])  # ExtraSamples: colours times alpha, and not
@pytest.mark.parametrize("opaque", [4095, 65535])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_with_alpha_that_uses_12_of_16_bits(order, opaque, extra):
    samples = np.repeat((RAMP * 4095).astype("u2")[..., None], 4, axis=2)
    samples[..., 3] = opaque
    samples[0, :, 3], samples[0, :, :3] = 0, 0  # transparent
    pixels, guess = decoded(tiff(samples, order=order, t338=extra))
    np.testing.assert_array_equal(pixels[0], 255)
    np.testing.assert_array_equal(pixels[1:], samples[1:, :, :3] >> 4)
    assert "read as 12 bits" in guess


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_one_grey_level_of_few_bits_that_is_transparent(bits):
    levels = np.arange(2**bits)[None]
    for level in levels[0, :: max(1, 2**bits // 16)]:
        pixels, _ = decoded(png(levels, bits=bits, tRNS=bytes([0, level])))
        expected = np.where(levels == level, 255, levels * 255 // (2**bits - 1))
        np.testing.assert_array_equal(pixels[..., 0], expected)


def test_one_sample_or_colour_of_16_bits_that_is_transparent():
    grey = (RAMP * 65535).astype("u2")
    grey[0, :2] = 0x1234, 0x1235
    pixels, _ = decoded(png(grey, tRNS=b"\x12\x34"))
    expected = grey >> 8
    expected[grey == 0x1234] = 255
    np.testing.assert_array_equal(pixels[..., 0], expected)
    colours = np.dstack([grey, grey, grey])
    colours[0, 0, 1] = 0x4321
    pixels, _ = decoded(png(colours, tRNS=b"\x12\x34\x43\x21\x12\x34"))
    expected = colours >> 8
    expected[0, 0] = 255
    np.testing.assert_array_equal(pixels, expected)


def test_a_jpeg_2000_that_uses_12_of_16_bits():
    samples = np.linspace(0, 4095, 4096).reshape(64, 64).astype("u2")
    for values, said in ((samples, "read as 12 bits"), (samples << 4, "")):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, "JPEG2000")
        pixels, guess = decoded(stream.getvalue())
        np.testing.assert_array_equal(pixels[..., 0], samples >> 4)
        assert said in guess
        assert bool(said) == bool(guess)


def test_a_jpeg_2000_in_colour_whose_used_bits_pillow_drops_is_refused():
    cv2 = pytest.importorskip("cv2")  # Pillow writes none of 16 bits in colour
    samples = np.repeat(np.linspace(0, 4095, 4096).reshape(64, 64, 1).astype("u2"), 3, axis=2)
    with pytest.raises(
        ValueError, match=r"bird\.tif.*stored as 16 bits.*Convert it to grey or RGB"
    ):
        decoded(cv2.imencode(".jp2", samples)[1].tobytes())
    bright = cv2.imencode(".jp2", samples << 4)[1].tobytes()
    assert decoded(bright)[0].max() > 250


@pytest.mark.parametrize(
    "samples",
    [
        RAMP,
        RAMP.astype("f2"),
        np.dstack([RAMP, RAMP, RAMP]).astype("f4"),
        np.dstack([RAMP * 999] * 2).astype("u2"),
        np.dstack([RAMP * 255] * 5).astype("u1"),
    ],
)
def test_a_whole_tiff_of_another_kind_says_what_to_make_of_it(samples):
    with pytest.raises(ValueError, match=r"TIFF whose kind of samples .* Convert it") as caught:
        decoded(tiff(samples))
    assert "fetch" not in str(caught.value)


@pytest.mark.parametrize(
    ("high", "guess"), [(1, "0 to 1"), (1.25, "0 to 1"), (100, "8 bits"), (255, "8 bits")]
)
def test_fractions_are_told_from_dark_samples_of_eight_bits(high, guess):
    pixels, said = decoded(tiff((high * RAMP).astype("f4")))
    shares = np.rint(255 * np.minimum(np.float32(high * RAMP), 1))  # what is beyond white is white
    expected = shares if high < 2 else np.floor(np.float32(high * RAMP))
    np.testing.assert_array_equal(pixels[..., 1], expected)
    assert said == f"samples from 0 to {high} read as {guess}"
