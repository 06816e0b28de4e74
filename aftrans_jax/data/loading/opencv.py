"""`CV2`: the OpenCV module, None where it is not installed.

It enlarges images; PIL does everything else, and everything where OpenCV is missing. Measured on
543 photos, both enlarge within one grey level of each other. OpenCV does not shrink here: its
bilinear filter does not antialias (up to 144 grey levels off at 224 px). Nor does it decode: it
prints errors in a JPEG to the terminal, without the file's name, and returns an image all the same.
"""

from types import ModuleType


def _import_cv2() -> ModuleType | None:
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)  # the loader's threads each work on an image already
    return cv2


CV2 = _import_cv2()
