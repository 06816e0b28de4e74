"""Random damage to annotation lists: `python tests/faults/lists.py --count=1000`.

Right is that the lists are read, or an error that names the damaged file. No bit tells a wrong
label from a right one, so what is read is not compared.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
from driver import main

from aftrans_jax.data.sets.csv_list import read_csv
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.dogs import read_dogs

_CUB = {
    "classes.txt": "1 001.Crow\n2 002.Gull\n",
    "images.txt": "".join(f"{n} a b/{n}.png\n" for n in range(12)),
    "image_class_labels.txt": "".join(f"{n} {1 + n % 2}\n" for n in range(12)),
    "train_test_split.txt": "".join(f"{n} {int(n < 6)}\n" for n in range(12)),
    "bounding_boxes.txt": "".join(f"{n} 1.0 2.0 {n + 3}.0 4.5\n" for n in range(12)),
}


def _write_csv(root: Path) -> None:
    rows = (f'"é/{n}.jpg",{"ab"[n % 2]},{"train" if n < 6 else "test"}\n' for n in range(12))
    (root / "list.csv").write_text("path,label,split\n" + "".join(rows), encoding="utf-8")


def _write_cub(root: Path) -> None:
    for name, text in _CUB.items():
        (root / name).write_text(text, encoding="utf-8")


def _write_dogs(root: Path, *, compressed: bool) -> None:
    for split in ("train", "test"):
        files = np.empty((8, 1), object)
        files[:, 0] = [f"n{n % 2}-Dog_{n % 2}/{split}{n}.jpg" for n in range(8)]
        content = {"file_list": files, "labels": np.array([[n % 2 + 1] for n in range(8)])}
        scipy.io.savemat(root / f"{split}_list.mat", content, do_compression=compressed)


_SETS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "csv": (_write_csv, lambda root: read_csv(root / "list.csv")),
    "cub": (_write_cub, read_cub),
    "mat": (lambda root: _write_dogs(root, compressed=False), read_dogs),
    "mat compressed": (lambda root: _write_dogs(root, compressed=True), read_dogs),
}
KINDS = tuple(_SETS)


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    some, place = bytearray(data), int(rng.integers(len(data)))
    damage = int(rng.integers(4))
    if damage < 2:  # twice as often
        some[place] ^= 1 << int(rng.integers(8))
    elif damage == 2:
        del some[place:]
    else:
        some[place:place] = rng.bytes(3)
    return bytes(some)


def run_one(kind: str, seed: int) -> str | None:
    """Returns what is wrong with the outcome of one damage, None where nothing is."""
    rng = np.random.default_rng((seed, 11))
    write, read = _SETS[kind]
    root = Path(tempfile.mkdtemp())
    try:
        write(root)
        files = sorted(root.iterdir())
        path = files[int(rng.integers(len(files)))]
        path.write_bytes(_damaged(path.read_bytes(), rng))
        read(root)
    except (ValueError, FileNotFoundError) as error:
        return None if str(root) in str(error) else f"{path.name}: no file in {error}"
    finally:
        shutil.rmtree(root)
    return None


if __name__ == "__main__":
    main("lists", KINDS, run_one)
