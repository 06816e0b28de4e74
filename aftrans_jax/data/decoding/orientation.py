"""The orientation in which a photo was stored, and turning pixels and boxes upright.

It is read without Pillow, whose warnings about damaged metadata name no file.
"""

import re
import struct

import numpy as np
from jaxtyping import Float32, UInt8

_TAG = 0x0112
# EXIF's number -> whether rows are reversed, then columns, then both are exchanged.
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Returns EXIF's number of an orientation, from 1 to 8; 1 where no readable metadata has it.

    Args:
      exif: block of EXIF metadata, with or without its name in front.
      xmp: XMP packet, used where EXIF has no orientation.
    """
    number = _from_exif(exif.removeprefix(b"Exif\0\0"))
    if number is None:
        found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp)
        number = int(found[1]) if found else 1
    return number if number in _TURNS else 1


def _from_exif(block: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", block, entry)
            if tag == _TAG:
                form = {3: "H", 4: "I"}.get(kind, "B")  # SHORT as the standard says, LONG, BYTE
                return struct.unpack_from(f"{order}{form}", block, entry + 8)[0]
    except struct.error:
        pass
    return None


def turn(
    pixels: UInt8[np.ndarray, "height width 3"], number: int
) -> UInt8[np.ndarray, "upright_height upright_width 3"]:
    """Returns pixels turned upright that are stored in an orientation from 1 to 8."""
    rows, columns, exchanged = _TURNS[number]
    turned = pixels[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(turned.swapaxes(0, 1) if exchanged else turned)


def turn_box(
    box: Float32[np.ndarray, "4"], number: int, height: int, width: int
) -> Float32[np.ndarray, "4"]:
    """Returns a box (top, left, bottom, right), given in pixels as stored, for the upright image.

    Args:
      box: box, half-open, in pixels; may be NaN.
      number: number of the orientation, from 1 to 8.
      height: height of the upright image.
      width: width of the upright image.
    """
    rows, columns, exchanged = _TURNS[number]
    stored_height, stored_width = (width, height) if exchanged else (height, width)
    top, left, bottom, right = box
    if rows:
        top, bottom = stored_height - bottom, stored_height - top
    if columns:
        left, right = stored_width - right, stored_width - left
    corners = (left, top, right, bottom) if exchanged else (top, left, bottom, right)
    return np.array(corners, np.float32)
