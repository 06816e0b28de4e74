"""Files that decoders take for whole and are not, and those that only look odd."""

import contextlib
import io
import resource
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from aftrans_jax.data.decoding.decode import decode_photo
from aftrans_jax.data.decoding.formats import (
    HEIC,
    decodable_formats,
    lift_pillow_limit,
    photo_suffixes,
)
from aftrans_jax.data.decoding.png import SIGNATURE

ROWS, COLS = np.mgrid[:96, :144]
NOISE = np.random.default_rng(0).integers(0, 60, (96, 144, 3))
BIRD = (np.stack([ROWS * 2, COLS, ROWS + COLS], axis=-1) // 2 + NOISE).astype(np.uint8)
FLAT = np.full((96, 144, 3), 128, np.uint8)  # what a decoder fills up with
OPTIONS = [
    {},
    {"progressive": True},
    {"optimize": True, "quality": 30},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 1},
    {"progressive": True, "restart_marker_blocks": 3},
    {"subsampling": 0, "quality": 100},
]
END = b"\xff\xd9"


def jpeg(pixels=BIRD, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def by_pil(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def decoded(data, **options):
    return decode_photo(data, "bird 7.jpg", **options).pixels


def refused(data, message=""):
    with pytest.raises(ValueError, match=rf"cannot decode 'bird 7\.jpg' .*{message}"):
        decoded(data)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("pixels", [BIRD, FLAT], ids=["bird", "flat"])
def test_a_whole_jpeg_is_what_pil_makes_of_it(options, mode, pixels):
    data = jpeg(pixels, mode, **options)
    expected = by_pil(data)
    np.testing.assert_array_equal(decoded(data), expected)
    for trailer in (bytes(300), b"\xff\xd8\xff\xe0 another image", b"\xff", END):
        np.testing.assert_array_equal(decoded(data + trailer), expected)


@pytest.mark.parametrize("options", OPTIONS)
def test_fill_bytes_and_a_marker_without_a_length_are_passed_over(options):
    """FF may be repeated before any marker; FF 01 stands alone."""
    data = jpeg(**options)
    start = data.index(b"\xff\xda")
    for odd in (data[:-2] + b"\xff\xff\xff" + END, data[:start] + b"\xff\x01" + data[start:]):
        np.testing.assert_array_equal(decoded(odd), by_pil(data))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.98])
def test_a_jpeg_that_ends_early_is_refused_whatever_its_last_bytes(options, share):
    data = jpeg(**options)
    start = data.index(b"\xff\xda")
    half = data[: start + int(share * (len(data) - start))].rstrip(b"\xff")
    with contextlib.suppress(OSError):  # where it ends in a table
        assert not np.array_equal(by_pil(half + END), by_pil(data))  # and PIL does not mind
    for end in (END, END + bytes(500), b"", bytes(500)):
        refused(half + end)


def test_a_jpeg_that_lacks_its_last_scans_is_refused():
    data = jpeg(progressive=True)
    scans = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xda"]
    tables = [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xc4"]
    for scan in scans[1:]:
        start = max([i for i in tables if i < scan], default=scan)
        by_pil(data[:start] + END)
        refused(data[:start] + END, "before the last scan")


def test_a_jpeg_that_lacks_whole_intervals_is_refused():
    data = jpeg(restart_marker_rows=1)
    marks = [i for i in range(len(data)) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]
    for mark in marks:
        refused(data[:mark] + END)
        refused(data[: mark + 2] + END)


def test_bytes_that_fill_up_before_markers_do_not_matter():
    data = jpeg(restart_marker_rows=1)
    filled = data.replace(b"\xff\xd0", b"\xff\xff\xff\xd0")[:-2] + b"\xff" + END
    np.testing.assert_array_equal(decoded(filled), by_pil(data))


def test_damaged_metadata_is_silent_and_does_not_matter():
    data = jpeg()
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40)
    block = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    mpf = b"\xff\xe2" + struct.pack(">H", 30) + b"MPF\0II*\0\x08\0\0\0".ljust(28, b"\1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decoded(data[:2] + block + mpf + data[2:]), by_pil(data))


def test_real_photos_are_whole_and_halves_are_not(real):
    paths = (
        sorted((real / "cub10").rglob("*.jpg"))[::20]
        + sorted((real / "pets37").rglob("*.jpg"))[::20]
    )
    assert len(paths) > 40
    for path in paths:
        data = path.read_bytes()
        np.testing.assert_array_equal(decoded(data), by_pil(data))
        refused(data[: len(data) // 2].rstrip(b"\xff") + END)


# ----------------------------------------------------------------------------------------- PNG


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks, pixels=BIRD):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    data = stream.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]  # after the header


def test_texts_and_profiles_of_a_png_do_not_matter():
    bomb = zlib.compress(bytes(70_000_000))
    for extra in (
        chunk(b"zTXt", b"key\0\0" + bomb),
        chunk(b"iTXt", b"key\0\1\0\0\0" + bomb),
        chunk(b"iCCP", b"profile\0\0" + bomb),
        chunk(b"acTL", b"\1"),
    ):
        np.testing.assert_array_equal(decoded(png(extra)), BIRD)
    damaged = png(chunk(b"zTXt", b"key\0\0" + bomb)[:-1] + b"?")  # a checksum that is wrong
    np.testing.assert_array_equal(decoded(damaged), BIRD)


def test_every_flipped_bit_of_a_png_is_found():
    data = png(pixels=BIRD[:6, :7])
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with pytest.raises(ValueError, match="cannot decode"):
                decoded(bytes(flipped))


def stored_rows(image, *, interlaced):
    """The filtered rows of an RGB image as PNG stores them, pass by pass (PNG standard, 8.2)."""
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
    starts += [(0, 1, 2, 2), (1, 0, 2, 1)]
    parts = (image[y::dy, x::dx] for y, x, dy, dx in (starts if interlaced else [(0, 0, 1, 1)]))
    return [b"\0" + line.tobytes() for part in parts if part.size for line in part]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("height", "width"), [(6, 7), (1, 1), (3, 1), (40, 33)])
def test_a_png_without_its_last_rows_is_refused(height, width, interlaced):
    """Its checksums are right, and Pillow shows black rows instead."""
    image = BIRD[:height, :width]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    lines = stored_rows(image, interlaced=interlaced)

    def file(lines):
        packed = chunk(b"IDAT", zlib.compress(b"".join(lines)))
        return SIGNATURE + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")

    np.testing.assert_array_equal(decoded(file(lines)), image)
    for rest in (lines[:-1], [*lines[:-1], lines[-1][:-1]], []):
        with pytest.raises(ValueError, match="the file ends before its image does"):
            decoded(file(rest))


# ---------------------------------------------------------------------- formats and their limits


def huge_png(side):
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + -(-side // 8))) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", rows + packer.flush()), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def huge_webp(side):
    size = (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size + b"VP8L" + struct.pack("<I", 6)
    return b"RIFF" + struct.pack("<I", len(body) + 6) + body + b"\x2f" + bytes(5)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded():
    data = huge_png(13_300)
    assert len(data) < 30_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    expected = r"'bird 7\.jpg' has 13,300 x 13,300 pixels: .*data\.max_pixels=100,000,000\. Shrink"
    with pytest.raises(ValueError, match=expected):
        decoded(data)
    with pytest.raises(ValueError, match=r"bird 7"):
        decoded(huge_webp(16_383))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_the_limit_can_be_raised_above_that_of_pillow():
    data = huge_png(4_000)
    with pytest.raises(ValueError, match=r"at most data\.max_pixels=15,999,999"):
        decoded(data, max_pixels=15_999_999)
    assert decoded(data, max_pixels=16_000_000).shape == (4_000, 4_000, 3)


def test_pillow_s_limit_is_the_user_s(monkeypatch):
    code = (
        "from PIL import Image; limit = Image.MAX_IMAGE_PIXELS\n"
        "import aftrans_jax.data.decoding.decode; assert limit == Image.MAX_IMAGE_PIXELS > 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    photo, files = Image.fromarray(BIRD), {}
    for kind in ("PNG", "TIFF"):
        photo.save(stream := io.BytesIO(), kind)
        files[kind] = stream.getvalue()
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    np.testing.assert_array_equal(decoded(files["PNG"]), BIRD)
    with pytest.raises(ValueError, match=r"bird 7.* is 2,000 pixels.*MAX_IMAGE_PIXELS = None"):
        decoded(files["TIFF"])
    assert Image.MAX_IMAGE_PIXELS == 1000
    lift_pillow_limit()
    np.testing.assert_array_equal(decoded(files["TIFF"]), BIRD)


def test_postscript_is_not_run():
    stream = io.BytesIO()
    Image.fromarray(BIRD).save(stream, "EPS")
    refused(stream.getvalue(), "its first bytes are of none of JPEG, MPO")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run git lfs pull where"),
        (b"\n<!DOCTYPE html><title>404", "it is a web page"),
        (b"<html lang='en'>", "it is a web page"),
        (b"nothing that is known", "its first bytes are of none of JPEG, MPO, PNG"),
    ],
)
def test_what_lies_in_the_place_of_a_photo_is_named(data, said):
    refused(data, said)


def test_suffixes_are_those_of_the_formats():
    known = photo_suffixes()
    for suffix in (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff"):
        assert suffix in known
    assert {".bmp", ".gif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm"} <= known
    assert not known & {".eps", ".ps", ".pdf", ".txt", ".psd", ".ico", ".mpg", ".db", ".csv"}
    assert (".heic" in known) == (HEIC is not None)


@pytest.mark.skipif("AVIF" not in decodable_formats(), reason="this Pillow reads no AVIF")
def test_a_cut_avif_is_damaged_where_avif_is_read():
    stream = io.BytesIO()
    Image.fromarray(BIRD).save(stream, "AVIF")
    assert decoded(stream.getvalue()).shape == BIRD.shape
    for length in (20, 200, len(stream.getvalue()) // 2):
        with pytest.raises(ValueError, match=r"fetch it again") as caught:
            decoded(stream.getvalue()[:length])
        assert "needs Pillow" not in str(caught.value)
        assert "first bytes" not in str(caught.value)


@pytest.mark.skipif(HEIC is not None, reason="pillow-heif is installed")
def test_heic_says_what_it_needs():
    data = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(100)
    refused(data, "pip install pillow-heif")
