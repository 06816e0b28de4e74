"""TIFF files whose samples Pillow would take for others, against the samples they are made of."""

import itertools
import struct
import zlib

import numpy as np
import pytest

from aftrans_jax.data.decoding.decode import decode_photo

SHORT, LONG = 3, 4
SAMPLES = np.random.default_rng(0).integers(0, 65536, (32, 48, 4))
KINDS = {"u": 1, "i": 2, "f": 3}  # SampleFormat
RGB, CMYK, LAB, BLACK_IS_ZERO, WHITE_IS_ZERO = 2, 5, 8, 1, 0


def tiff(samples, meaning, *, order="<", planes=True, deflate=False, side=0, **tags):
    """A TIFF of strips of 7 rows or of tiles of a side, each plane for itself or all as one.

    `tags` are further ones, such as t338=2.
    """
    samples = np.atleast_3d(samples)
    height, width, channels = samples.shape
    kind, bits = KINDS[samples.dtype.kind], samples.dtype.itemsize * 8
    samples = samples.astype(samples.dtype.newbyteorder(order))
    parts = np.split(samples, channels, axis=2) if planes else [samples]
    rows, columns = (side, side) if side else (7, width)
    corners = itertools.product(parts, range(0, height, rows), range(0, width, columns))
    cuts = [part[top : top + rows, left : left + columns] for part, top, left in corners]
    if side:
        rest = [(side - cut.shape[0], side - cut.shape[1]) for cut in cuts]
        cuts = [
            np.pad(cut, ((0, y), (0, x), (0, 0))) for cut, (y, x) in zip(cuts, rest, strict=True)
        ]
    blocks = [zlib.compress(cut.tobytes()) if deflate else cut.tobytes() for cut in cuts]
    places = np.cumsum([8, *map(len, blocks)]).tolist()
    entries = {
        **{256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [bits] * channels)},
        **{259: (SHORT, [8 if deflate else 1]), 262: (SHORT, [meaning]), 277: (SHORT, [channels])},
        **{284: (SHORT, [2 if planes else 1]), 339: (SHORT, [kind] * channels)},
        **{(324 if side else 273): (LONG, places[:-1])},
        **{(325 if side else 279): (LONG, [len(block) for block in blocks])},
        **({322: (SHORT, [side]), 323: (SHORT, [side])} if side else {278: (SHORT, [rows])}),
        **{int(name[1:]): (SHORT, [value]) for name, value in tags.items()},
    }
    behind, extra, listed = places[-1] + 2 + 12 * len(entries) + 4, b"", b""
    for tag, (form, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{'H' if form == SHORT else 'I'}", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", behind + len(extra))
            extra, packed = extra + packed, place
        listed += struct.pack(f"{order}HHI", tag, form, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", places[-1])
    count = struct.pack(f"{order}H", len(entries))
    return head + b"".join(blocks) + count + listed + bytes(4) + extra


def pixels(data):
    return decode_photo(data, "bird.tif").pixels


@pytest.mark.parametrize("side", [0, 16, 32])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_colours_of_16_bits(order, deflate, side):
    made = {"order": order, "deflate": deflate, "side": side}
    colours, opaque = SAMPLES[..., :3].astype("u2"), SAMPLES.astype("u2")
    np.testing.assert_array_equal(pixels(tiff(colours, RGB, **made)), colours >> 8)
    opaque[..., 3] = 65535
    for extra in (1, 2):  # colours times alpha, and not
        np.testing.assert_array_equal(pixels(tiff(opaque, RGB, t338=extra, **made)), colours >> 8)
    opaque[..., 3] = 0  # no ink
    np.testing.assert_array_equal(pixels(tiff(opaque, CMYK, **made)), 255 - (colours >> 8))


@pytest.mark.parametrize("deflate", [False, True])
def test_planes_that_use_12_of_16_bits_are_refused(deflate):
    data = tiff((SAMPLES[..., :3] >> 4).astype("u2"), RGB, deflate=deflate)
    with pytest.raises(ValueError, match=r"bird\.tif.*use the lower of 16 bits alone.*Convert it"):
        pixels(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "f4"])
def test_of_one_sample_a_pixel_planes_say_nothing(kind, deflate, order):
    levels = SAMPLES[..., 0] / 65535
    levels[0, :2] = 0, 1
    top = 1 if kind == "f4" else np.iinfo(kind).max
    samples = (levels * top).astype(kind)
    expected = np.floor(levels * 255) if kind == "f4" else levels * 255
    for meaning in (BLACK_IS_ZERO, *((WHITE_IS_ZERO,) if kind == "u1" else ())):
        found = pixels(tiff(samples, meaning, order=order, deflate=deflate))[..., 0]
        signed = kind[0] == "i"  # 15 bits or 31, of 16 or 32
        shown = found.astype(float) * (2 if signed else 1)
        shown = 255 - shown if meaning == WHITE_IS_ZERO else shown
        assert np.abs(shown - expected).max() <= 2


@pytest.mark.parametrize(
    ("channels", "meaning", "tags"),
    [(2, BLACK_IS_ZERO, {"t338": 2}), (3, LAB, {}), (4, RGB, {})],  # the last: alpha undeclared
)
def test_planes_that_pillow_mixes_up_are_refused(channels, meaning, tags):
    samples = SAMPLES[..., :channels].astype("u1")
    with pytest.raises(ValueError, match=r"bird\.tif.*planes are (LA|LAB|RGBA).*Convert it"):
        pixels(tiff(samples, meaning, deflate=True, **tags))


def test_planes_that_are_cut_off_are_refused():
    data = tiff(SAMPLES[..., :3].astype("u2"), RGB)
    start = struct.unpack_from("<I", data, 4)[0]
    place = data.index(struct.pack("<HHI", 279, LONG, 15), start) + 8
    counts = struct.unpack_from("<I", data, place)[0]
    shorter = bytearray(data)
    struct.pack_into("<I", shorter, counts, 5)  # bytes of the first strip
    with pytest.raises(ValueError, match=r"bird\.tif"):
        pixels(bytes(shorter))
