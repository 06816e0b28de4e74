"""JPEG files: the parts that pixels depend on, and whether every scan is complete.

Where the data of a scan ends early, libjpeg invents the rest. Pillow drops its warning, OpenCV
prints it without the name of a file. So a decoder is given streams on which it must fail, or return
other pixels.
"""

import re
from typing import NamedTuple

# Read as data only by a decoder that lacks its own: nearly all ones, which are the longest codes.
_PADDING = b"\xfe" * 16
# Arithmetic coding leaves out zeros at the end of a scan, so decoders of intact files read further.
_ARITHMETIC_PADDING = bytes(16) + b"\x5a\xa5" * 16

# FF may be repeated before a marker. Expressions that begin with a plain byte instead of a
# repetition are found 70 times as fast.
_MARKER = re.compile(rb"\xff\xff*([^\x00\xff])")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff\xff*([\xd0-\xd7])")
_EOI = 0xD9
_SOS = 0xDA
_DRI = 0xDD
_APP0 = 0xE0
_APP1 = 0xE1
_APP14 = 0xEE
_APP15 = 0xEF
_COM = 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 ... SOF15
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ARITHMETIC = frozenset(range(0xC9, 0xD0)) - {0xCC}


class Jpeg(NamedTuple):
    """A JPEG file without comments, metadata and anything after its end.

    Attributes:
      strict: stream with the pixels of the file. Where `probe` is empty, decoding it fails if the
        file lacks data, at a reduced scale too.
      probe: stream that has other pixels where the file lacks data; empty where `strict` is enough.
      exif: block of metadata that may have the orientation, empty where there is none.
      xmp: block of metadata in XML, which may have it, too.
    """

    strict: bytes
    probe: bytes
    exif: bytes
    xmp: bytes


class _Segment(NamedTuple):
    code: int
    body: bytes  # without marker and length
    scan: bytes = b""  # data after it, up to the next marker that is not a restart


def read_jpeg(data: bytes) -> Jpeg:
    """Returns a JPEG file as streams that show whether its scans are complete.

    That holds for Huffman and arithmetic coding, sequential and progressive, with restart markers
    and without. The last blocks may lack data, some tens of bytes where the image is greyscale.

    Args:
      data: contents of the file, which begin with FF D8.

    Raises:
      ValueError: the end marker, the image or one of its scans is missing.
    """
    segments = _segments(data)
    frames = [segment for segment in segments if segment.code in _FRAMES]
    scans = [segment for segment in segments if segment.code == _SOS]
    if not frames or not scans:
        raise ValueError("the file has a header but no image")
    _check_all_scans(frames[0], scans)
    whole = [b"\xff\xd8"]
    padded = [b"\xff\xd8"]
    kept = [segment for segment in segments if _matters(segment.code)]
    has_restarts = any(segment.code == _DRI for segment in kept)
    padding = _ARITHMETIC_PADDING if frames[0].code in _ARITHMETIC else _PADDING * 4
    for code, body, scan in kept:
        header = bytes((0xFF, code)) + (len(body) + 2).to_bytes(2, "big") + body
        whole += [header, scan]
        padded += [header, _padded(scan, padding, has_restarts) if code == _SOS else b""]
    exif = next((s.body[6:] for s in segments if s.body.startswith(b"Exif\0\0")), b"")
    xmp = next((s.body for s in segments if s.code == _APP1 and b"/xap/" in s.body[:40]), b"")
    if len(scans) == 1 and not has_restarts and frames[0].code not in _ARITHMETIC:
        return Jpeg(b"".join([*whole, _PADDING]), b"", exif, xmp)  # without its end marker
    end = b"\xff\xd9"
    return Jpeg(b"".join([*whole, end]), b"".join([*padded, end]), exif, xmp)


def _segments(data: bytes) -> list[_Segment]:
    segments = []
    position = 2
    while marker := _MARKER.search(data, position):
        code = marker[1][0]
        start = marker.end()
        if code == _EOI:
            return segments
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # these have no length
            position = start
            continue
        end = position = start + int.from_bytes(data[start : start + 2], "big")
        if code == _SOS:
            after = _AFTER_SCAN.search(data, end)
            position = after.start() if after else len(data)
        segments.append(_Segment(code, data[start + 2 : end], data[end:position].rstrip(b"\xff")))
    raise ValueError("the file ends before its image does")


def _matters(code: int) -> bool:
    """Returns whether pixels depend on a segment; size and colours of a JPEG depend on APP14."""
    return code in (_APP0, _APP14) or not (_APP0 <= code <= _APP15 or code == _COM)


def _check_all_scans(frame: _Segment, scans: list[_Segment]) -> None:
    """Raises ValueError where a component lacks a scan or, in a progressive file, bits."""
    components = set(frame.body[6::3])
    lacking = {(component, k) for component in components for k in range(64)}
    for scan in scans:
        number = scan.body[0] if scan.body else 0
        first, last, bits = (*scan.body[1 + 2 * number :], 0, 0, 0)[:3]
        if frame.code not in _PROGRESSIVE:
            first = 0
            last = 63
            bits = 0
        if bits % 16 == 0:  # no lower bits follow
            read = scan.body[1 : 1 + 2 * number : 2]
            lacking -= {(component, k) for component in read for k in range(first, last + 1)}
    if lacking:
        raise ValueError("the file ends before the last scan of its image")


def _padded(scan: bytes, padding: bytes, has_restarts: bool) -> bytes:
    """Returns a scan with padding before every restart marker and at its end."""
    if not has_restarts:
        return scan + padding
    marks = _RESTART.findall(scan)
    following = 0xD0 if not marks else 0xD0 + (marks[-1][0] + 1) % 8
    # A decoder that has all intervals ignores one further restart marker.
    extra = padding + bytes((0xFF, following)) + padding
    return _RESTART.sub(lambda mark: padding + mark[0], scan) + extra
