"""`CV2`: the OpenCV module, None where it is not installed.

It enlarges; PIL does everything else, and everything where OpenCV is absent. Measured on 543
photos, both enlarge within one grey level of each other. OpenCV does not shrink here: its bilinear
filter does not antialias (up to 144 grey levels off at 224 px). Nor does it decode: what is wrong
with a JPEG it prints to the terminal, without a name, and returns the image all the same.
"""

from types import ModuleType


def _import_cv2() -> ModuleType | None:
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)  # the loader's threads already work on one image each
    return cv2


CV2 = _import_cv2()
