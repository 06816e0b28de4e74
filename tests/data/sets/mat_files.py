"""Writers of .mat files as MATLAB's own, and of the small images that they list."""

import numpy as np
import scipy.io
from PIL import Image


def save(path, **variables):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables, do_compression=True)


def cells(elements):
    """A cell array, as a column."""
    array = np.empty((len(elements), 1), object)
    for number, element in enumerate(elements):
        array[number, 0] = element
    return array


def struct(rows):
    """A struct array whose fields are the keys of the rows."""
    fields = [(name, object) for name in rows[0]]
    return np.array([tuple(row.values()) for row in rows], fields)


def save_images(root, names):
    """Images of 8 x 6, red at 10 times their position in `names`."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (10 * number, 0, 0)).save(path, "JPEG", quality=100)


HDF5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(400)
NOT_MAT_FILES = [b"", b"<html>404</html>" * 50, HDF5]
