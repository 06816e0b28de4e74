"""PNG files: the chunks that pixels depend on, with their checksums verified, and all rows there.

Pillow only checks the header's checksum, takes absent rows for black ones, and refuses files for
the size of their texts.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_LONGEST_TEXT = 1 << 20  # bytes of metadata with the orientation, unpacked
_PIECE = 1 << 14  # bytes of a file that are unpacked at a time, to 17 MB at most
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the header's colour type
# First column and row of each of Adam7's passes, and the steps to the next.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class Png(NamedTuple):
    """A PNG file without texts, colour profile and animation; metadata as in `jpeg.Jpeg`.

    `bits` is the number of significant bits of a colour's sample, from a chunk sBIT; None without.
    """

    stream: bytes
    exif: bytes
    xmp: bytes
    bits: int | None


def read_png(data: bytes) -> Png:
    """Returns a PNG file without anything that pixels do not depend on.

    Args:
      data: contents of the file, which begin with `SIGNATURE`.

    Raises:
      ValueError: a chunk is cut off or its checksum does not match, or the last one is missing.
    """
    kept = [SIGNATURE]
    exif = b""
    xmp = b""
    position = len(SIGNATURE)
    significant = b""
    while kept[-1][4:8] != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        body = data[position + 8 : end - 4]
        if end > len(data) or len(kind) < 4:
            raise ValueError("the file ends before its image does")
        if kind in _KEPT:
            if zlib.crc32(kind + body) != int.from_bytes(data[end - 4 : end], "big"):
                raise ValueError(f"the checksum of a chunk {kind.decode('latin-1')!r} is wrong")
            kept.append(data[position:end])
        elif kind == b"eXIf":
            exif = body
        elif kind in (b"tEXt", b"zTXt") and body.startswith(b"Raw profile type exif\0"):
            exif = exif or _raw_profile(kind, body.partition(b"\0")[2])
        elif kind == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
            xmp = body
        elif kind == b"sBIT":
            significant = body[:3] if len(body) > 2 else body[:1]  # for colours, not for alpha
        position = end
    bits = max(significant, default=0)
    return Png(b"".join(kept), exif, xmp, bits if 0 < bits <= 16 else None)


def check_rows(stream: bytes) -> None:
    """Checks that a file holds all rows of its image.

    Args:
      stream: file that `read_png` returned, of an image that is not too large to decode.

    Raises:
      ValueError: it holds fewer.
    """
    width, height, depth, colour, *_, interlaced = struct.unpack_from(">IIBBBBB", stream, 16)
    missing = 0
    for left, top, right, down in _PASSES if interlaced else [(0, 0, 1, 1)]:
        columns = -(-(width - left) // right)
        rows = -(-(height - top) // down)
        if columns > 0 and rows > 0:  # each row begins with its filter
            missing += rows * (1 + -(-columns * depth * _SAMPLES[colour] // 8))
    unpacked = zlib.decompressobj()
    for packed in _packed_rows(stream):
        missing -= len(unpacked.decompress(packed))
        if missing <= 0:
            return
    raise ValueError("the file ends before its image does")


def _packed_rows(stream: bytes) -> Iterator[bytes]:
    """Yields the rows as the file packs them, in short pieces."""
    position = len(SIGNATURE)
    while position < len(stream):
        first = position + 8
        end = first + int.from_bytes(stream[position : position + 4], "big")
        if stream[position + 4 : first] == b"IDAT":
            for start in range(first, end, _PIECE):
                yield stream[start : min(start + _PIECE, end)]
        position = end + 4


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Returns a profile that ImageMagick wrote as hexadecimal digits, b"" where it is damaged."""
    try:
        text = zlib.decompressobj().decompress(body[1:], _LONGEST_TEXT) if kind == b"zTXt" else body
        digits = re.sub(rb"^\n[a-z ]*\n *\d+\n", b"", text)
        return bytes.fromhex(digits.decode("ascii")).removeprefix(b"Exif\0\0")
    except (ValueError, zlib.error):
        return b""
