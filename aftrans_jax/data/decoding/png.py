"""PNG files: the chunks that pixels depend on, with their checksums verified.

Pillow only checks the header's checksum, and refuses files for the size of their texts.
"""

import re
import zlib
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_LONGEST_TEXT = 1 << 20  # bytes of metadata with the orientation, unpacked


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
    kept, exif, xmp, position = [SIGNATURE], b"", b"", len(SIGNATURE)
    significant = b""
    while kept[-1][4:8] != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind, body = data[position + 4 : position + 8], data[position + 8 : end - 4]
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


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Returns a profile that ImageMagick wrote as hexadecimal digits, b"" where it is damaged."""
    try:
        text = zlib.decompressobj().decompress(body[1:], _LONGEST_TEXT) if kind == b"zTXt" else body
        digits = re.sub(rb"^\n[a-z ]*\n *\d+\n", b"", text)
        return bytes.fromhex(digits.decode("ascii")).removeprefix(b"Exif\0\0")
    except (ValueError, zlib.error):
        return b""
