"""TIFF files: their list of tags without what is damaged, their samples as they are stored.

Pillow warns of damaged tags on the terminal, without the name of a file. Filters of warnings are
shared by all threads, and the user's; so none is changed, and Pillow gets nothing to warn of.
"""

import re
import struct

from PIL import TiffTags
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from aftrans_jax.data.decoding.formats import KindError

_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_TEXT = (1, 2, 7)  # types of which many values are one to Pillow
# Tags that tell where pixels are and how they are stored.
_PIXELS = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320}
    | {322, 323, 324, 325, 332, 338, 339, 347, *range(512, 522), *range(529, 533), 50674}
)
_NEEDED = frozenset((256, 257, 258, 259, 262, 273, 279, 322, 323, 324, 325))
_BITS = 258
_SAMPLES = 277
_PLANES = 284
_EXTRA = 338
_SEPARATE = 2  # a value of _PLANES
_MULTIPLIED = 1  # a value of _EXTRA: colours are multiplied by alpha


def is_tiff(data: bytes) -> bool:
    """Returns whether a file begins as TIFF or BigTIFF."""
    return data[:2] in (b"II", b"MM") and not {42, 43}.isdisjoint(data[2:4])


def read_tiff(data: bytes) -> bytes:
    """Returns a TIFF file without tags that are damaged and that its pixels do not depend on.

    Damaged is a tag whose values are not in the file, or are not as many as the standard says. Of
    one sample a pixel, how planes lie is taken out too: it says nothing, and Pillow errs by it.

    Args:
      data: the whole file, see `is_tiff`.

    Raises:
      ValueError: the list of tags is cut off, or one is damaged that the pixels depend on.
    """
    if data[:4] == b"MM\0+":
        raise ValueError("Pillow reads no BigTIFF whose bytes are in big-endian order")
    order = "<" if data[:2] == b"II" else ">"
    is_big = 43 in data[2:4]
    place, number, entry = (8, "Q", "HHQQ") if is_big else (4, "H", "HHII")
    form = "Q" if is_big else "I"
    try:
        (start,) = struct.unpack_from(order + form, data, place)
        (count,) = struct.unpack_from(order + number, data, start)
        first = start + struct.calcsize(number)
        step = struct.calcsize(order + entry)
        end = first + count * step
        struct.unpack_from(order + form, data, end)  # where the list of the next image is
        entries = [data[at : at + step] for at in range(first, end, step)]
    except struct.error as error:
        raise ValueError("its list of tags is cut off") from error
    kept = []
    left = len(data)
    num_samples = 1
    for one in entries:
        tag, kind, values, value = struct.unpack(order + entry, one)
        if tag == _SAMPLES:
            width = "H" if kind == 3 else "I"  # a short number stands at the left
            (num_samples,) = struct.unpack_from(order + width, one, step - struct.calcsize(form))
        if tag == _PLANES and num_samples == 1:
            continue
        size = _BYTES.get(kind, 0) * values
        outside = size if size > struct.calcsize(form) else 0
        fits = outside <= left and (not outside or value + outside <= len(data))
        if size and fits and (values == 1 or kind in _TEXT or TiffTags.lookup(tag).length != 1):
            kept.append(one)
            left -= outside
        elif tag in _NEEDED or (size and tag in _PIXELS):  # others without values say nothing
            raise ValueError(f"its tag {tag} ({TiffTags.lookup(tag).name}) is damaged")
    if len(kept) == len(entries):
        return data
    shorter = struct.pack(order + number, len(kept)) + b"".join(kept) + data[end : end + 8]
    return data[:start] + shorter + data[start + len(shorter) :]


def as_stored(image: ImageFile) -> ImageFile:
    """Returns an image, not decoded yet, whose samples are read as they are stored.

    Of planes of 16 bits without compression Pillow would take each byte for a sample, and of
    compressed numbers with a sign or a fraction, in big-endian order, the bytes in reverse: libtiff
    has put them into the machine's order.

    Raises:
      KindError: it is a TIFF of planes that Pillow mixes up: grey with alpha, L*a*b*, or alpha that
        no tag declares.
    """
    if not (isinstance(image, TiffImageFile) and image.tile):
        return image
    tags = image.tag_v2
    tile = image.tile[-1]  # the last one ends where the image does
    is_apart = tags.get(_PLANES) == _SEPARATE
    bits = tags.get(_BITS, ())
    if tile.codec_name == "libtiff" and isinstance(tile.args, tuple):
        raw = re.sub(r"(?<=^[FI];\d\d)B", "N", tile.args[0])
        image.tile = [tile._replace(args=(raw, *tile.args[1:]))]
    elif is_apart and 16 in bits and tile.extents:
        raw = "RGBa" if tags.get(_EXTRA) == (_MULTIPLIED,) else image.mode
        place = (0, 0, *tile.extents[2:])
        args = (f"{raw};16N", False, tags.offset)
        image.tile = [tile._make(("libtiff", place, 0, args))]
        image.use_load_libtiff = True
    is_undeclared = image.mode == "RGBA" and _EXTRA not in tags and image.use_load_libtiff
    if is_apart and (is_undeclared or image.mode[0] in "LP"):
        raise KindError(f"its planes are {image.mode}, which Pillow reads of one plane alone")
    return image
