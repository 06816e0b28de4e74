"""TIFF files whose metadata is damaged are read in silence; those that lack pixels are refused."""

import contextlib
import io
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from places import ROOT

from aftrans_jax.data.decoding import formats
from aftrans_jax.data.decoding.decode import decode_photo

BIRD = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
BITS, STRIPS, ORIENTATION, UNIT, SOFTWARE = 258, 273, 274, 296, 305
FAR = 1 << 30  # past the end of any file here


def tiff(mode="RGB", **options):
    """A file of `BIRD`; in mode "I;16B" of its red, in big-endian order and 16 bits."""
    grey = (BIRD[..., 0].astype(">u2") * 257).tobytes()
    image = Image.fromarray(BIRD) if mode == "RGB" else Image.frombytes(mode, (9, 7), grey)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[SOFTWARE], tags[UNIT], tags[ORIENTATION] = "a program of many letters", 2, 1
    stream = io.BytesIO()
    image.save(stream, "TIFF", tiffinfo=tags, **options)
    assert stream.getvalue()[:2] == (b"II" if mode == "RGB" else b"MM")
    return stream.getvalue()


def listed(data):
    """Where the list of tags begins, how large its number is, and how large each entry."""
    if data[2] == 43:
        return struct.unpack_from("<Q", data, 8)[0], 8, 20
    return struct.unpack_from("<I" if data[:2] == b"II" else ">I", data, 4)[0], 2, 12


def changed(data, tag, *, count=None, value=None):
    """The file with another count or value of a tag."""
    order = "<" if data[:2] == b"II" else ">"
    (start, head, step), wide = listed(data), "Q" if data[2] == 43 else "I"
    (number,) = struct.unpack_from(order + ("Q" if head == 8 else "H"), data, start)
    places = range(start + head, start + head + number * step, step)
    (place,) = (at for at in places if struct.unpack_from(f"{order}H", data, at)[0] == tag)
    found = bytearray(data)
    for offset, new in ((4, count), (4 + struct.calcsize(wide), value)):
        if new is not None:
            struct.pack_into(order + wide, found, place + offset, new)
    return bytes(found)


def quiet(data):
    """What is decoded, where no warning is raised."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        pixels = decode_photo(data, "bird.tif").pixels
    assert not warned
    return pixels


@pytest.mark.parametrize(
    "options", [{}, {"big_tiff": True}, {"mode": "I;16B"}, {"compression": "tiff_lzw"}]
)
@pytest.mark.parametrize(
    "damage",
    [
        {"tag": UNIT, "count": 2},
        {"tag": SOFTWARE, "value": FAR},
        {"tag": SOFTWARE, "count": FAR},
    ],
    ids=["of two values", "past the end", "too long"],
)
def test_damaged_metadata_does_not_matter(options, damage):
    data = tiff(**options)
    expected = BIRD[..., [0, 0, 0]] if "mode" in options else BIRD
    np.testing.assert_array_equal(quiet(data), expected)
    broken = changed(data, **damage)
    with pytest.warns(UserWarning, match=r"tag (296|305)|Truncated File Read"):
        Image.open(io.BytesIO(broken)).tag_v2.get(damage["tag"])
    np.testing.assert_array_equal(quiet(broken), expected)


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}])
@pytest.mark.parametrize(
    ("tag", "damage"),
    [
        (BITS, {"count": 99, "value": FAR}),
        (BITS, {"count": 0}),
        (256, {"count": 2}),
        (STRIPS, {"count": FAR}),
    ],
)
def test_damaged_tags_of_the_pixels_are_refused(options, tag, damage):
    with pytest.raises(ValueError, match=rf"'bird\.tif' .*: its tag {tag} \(.*\) is damaged"):
        quiet(changed(tiff(**options), tag, **damage))


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}])
def test_a_file_that_is_cut_off_is_refused(options):
    """Wherever, but within the name of the program, with which libtiff ends a file."""
    data, read = tiff(**options), []
    for length in range(len(data)):
        with contextlib.suppress(ValueError):
            read.append(quiet(data[:length]))
    assert len(read) == (len("a program of many letters") + 1 if "compression" in options else 0)
    for pixels in read:
        np.testing.assert_array_equal(pixels, BIRD)


@pytest.mark.parametrize("big", [False, True])
def test_no_bit_of_the_list_of_tags_makes_a_warning(big):
    data = tiff(big_tiff=big)
    start, _, _ = listed(data)
    read = 0
    for place in range(start, min(start + 320, len(data))):
        for bit in (0, 3, 7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            with contextlib.suppress(ValueError):
                read += quiet(bytes(flipped)).size > 0
    assert read > 40


def test_big_files_in_an_order_that_pillow_lacks_are_refused():
    with pytest.raises(ValueError, match="no BigTIFF whose bytes are in big-endian order"):
        quiet(b"MM\0+" + struct.pack(">HHQ", 8, 0, 16) + bytes(40))


def test_warnings_of_this_process_are_as_they_were(tmp_path):
    """In one of its own: pytest has filters too."""
    (tmp_path / "bird.tif").write_bytes(changed(tiff(), UNIT, count=2))
    code = (
        "import sys, warnings, numpy, jaxtyping\n"
        "from PIL import Image\n"
        "before = warnings.filters[:]\n"
        "from aftrans_jax.data.decoding.decode import read_photo\n"
        "print(read_photo(sys.argv[1]).pixels.shape, warnings.filters == before)\n"
        "sys.stderr.write('by Pillow:')\n"
        "Image.open(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bird.tif"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == "(7, 9, 3) True\n"
    assert done.stderr.startswith("by Pillow:")
    assert "UserWarning: Metadata Warning, tag 296 had too many entries" in done.stderr


def test_a_format_that_this_pillow_lacks_is_not_tried(monkeypatch):
    """It would warn of each file."""
    assert "WEBP" in formats.decodable_formats.__wrapped__()
    monkeypatch.setattr("PIL.features.check", lambda name: name != "webp")
    assert "WEBP" not in formats.decodable_formats.__wrapped__()
