"""Writes tfds.zip: sets that the builders of tensorflow-datasets have prepared, and their photos.

    pip install -r requirements-tfds.txt   # TensorFlow, which preparing needs and reading does not
    python tests/golden/make_tfds.py

Nothing is downloaded. CUB is prepared by launch/prepare_tfds.sh from archives of our photos, which
lie in the file below `photos/`; the others from tensorflow-datasets' own fake archives, which lie
beside the project with the real photos. `data/sets/run_tfds.py` prepares all of them anew.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = Path(__file__).with_name("tfds.zip")
FAKES = ROOT.parent / "shared" / "real" / "annotations" / "tfds_fake_examples"
CUB = "caltech_birds2011"
SPECIES = ("Black_footed_Albatross", "Laysan_Albatross", "Sooty_Albatross")


class Photo(NamedTuple):
    data: bytes
    label: int
    box: tuple[float, ...]
    train: bool


def drawn(number: int) -> bytes:
    """A small JPEG file of noise; one is grey, one CMYK, and the last is damaged."""
    rng, height, width = np.random.default_rng(number), 20 + number, 50 - number
    pixels = rng.integers(0, 256, (height // 2, width // 2, 3), np.uint8)
    mode = {6: "L", 7: "CMYK"}.get(number, "RGB")
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).convert(mode).save(file, "JPEG", quality=90)
    return file.getvalue()[: 300 if number == 17 else None]


def photos(read) -> dict[str, Photo]:
    """Six photos of each species by their names in the archive of CUB.

    Args:
      read: gives a file of a name and a number.
    """
    made = {}
    for number in range(18):
        label, height, width = number % 3, 20 + number, 50 - number
        box = (number / 2, 1.5, height - 0.5, width - 2.0)
        name = f"{label + 1:03}.{SPECIES[label]}/{SPECIES[label]}_{number:04}_{99 - number}"
        name = f"CUB_200_2011/images/{name}.jpg"
        made[name] = Photo(read(name, number), label, box, number % 6 < 4)
    return made


def pack(folder: Path, made: dict[str, Photo]) -> None:
    """Writes both archives of CUB-200-2011 as its authors laid them out."""
    rows = {"images": [], "train_test_split": [], "bounding_boxes": []}
    for number, (path, photo) in enumerate(made.items(), start=1):
        top, left, bottom, right = photo.box
        rows["images"].append(f"{number} {path.removeprefix('CUB_200_2011/images/')}")
        rows["train_test_split"].append(f"{number} {photo.train:d}")
        rows["bounding_boxes"].append(f"{number} {left} {top} {right - left} {bottom - top}")
    files = {path: photo.data for path, photo in made.items()}
    files |= {f"CUB_200_2011/{key}.txt": "\n".join(row).encode() for key, row in rows.items()}
    masks = {}
    for number, path in enumerate(made):
        file = io.BytesIO()
        Image.new("L", (50 - number, 20 + number)).save(file, "PNG")
        name = Path(path).relative_to("CUB_200_2011/images").with_suffix(".png")
        masks[f"segmentations/{name}"] = file.getvalue()
    for archive, members in {"CUB_200_2011": files, "segmentations": masks}.items():
        with tarfile.open(folder / f"{archive}.tgz", "w:gz") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


# Python runs it at its start: the checksums of tensorflow-datasets become those of our archives.
CHECKSUMS = """
import os, pathlib
from tensorflow_datasets.core.download import checksums

original, folder = checksums.load_url_infos, pathlib.Path(os.environ["ARCHIVES"])

def load_url_infos(path):
    infos = original(path)
    for url, info in infos.items():
        if (archive := folder / str(info.filename)).is_file():
            infos[url] = checksums.compute_url_info(archive)
    return infos

checksums.load_url_infos = load_url_infos
"""


def call(*command: str, **variables: str) -> str:
    """Runs a command to its end and returns what it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | variables, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def prepare_cub(root: Path, made: dict[str, Photo]) -> str:
    """Runs launch/prepare_tfds.sh for CUB below `root/data` and returns what it printed."""
    archives = root / "data" / "downloads" / "manual"
    for folder in (archives, root / "launch", root / "bin", root / "site"):
        folder.mkdir(parents=True)
    pack(archives, made)
    (root / "site" / "sitecustomize.py").write_text(CHECKSUMS)
    python = root / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copy(ROOT / "launch" / "prepare_tfds.sh", root / "launch")
    (root / "launch" / "venv.sh").write_text("")  # installs nothing
    return call(
        "bash", str(root / "launch" / "prepare_tfds.sh"), CUB, str(root / "data"),
        PATH=f"{root / 'bin'}:{os.environ['PATH']}",
        PYTHONPATH=f"{root / 'site'}:{ROOT}",
        ARCHIVES=str(archives),
    )  # fmt: skip


PREPARE = """
import pathlib, sys
from unittest import mock
import tensorflow_datasets as tfds

fakes, data_dir = map(pathlib.Path, sys.argv[1:])
dogs, inat, cars = (fakes / name for name in ("stanford_dogs", "i_naturalist2017", "cars196"))
archives = {
    "stanford_dogs": (dogs / "Images.tar", [dogs / "list.tar", dogs / "Annotation.tar"]),
    "i_naturalist2017": (None, {
        "test_images": inat / "test2017.tar.gz",
        "trainval_annos": inat / "train_val2017",
        "trainval_images": inat / "train_val_images.tar.gz",
    }),
    "cars196": (None, {
        "train": cars / "train",
        "test": cars / "test",
        "extra": cars / "extra",
        "test_annos": cars / "cars_test_annos_withlabels.mat",
    }),
}
for name, (downloaded, extracted) in archives.items():
    with mock.patch.multiple(
        tfds.download.DownloadManager,
        download=mock.Mock(return_value=downloaded),
        download_and_extract=mock.Mock(return_value=extracted),
    ):
        tfds.builder(name, data_dir=data_dir).download_and_prepare(file_format="array_record")
"""


def prepare_fakes(data_dir: Path) -> None:
    """Prepares Stanford Dogs, iNaturalist 2017 and Cars from the fakes of tensorflow-datasets."""
    call(sys.executable, "-c", PREPARE, str(FAKES), str(data_dir))


def main() -> None:
    made = photos(lambda _, number: drawn(number))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print(prepare_cub(root, made))
        prepare_fakes(root / "data")
        shutil.rmtree(root / "data" / "downloads")
        files = {f"photos/{name}": photo.data for name, photo in made.items()}
        files |= {
            str(path.relative_to(root / "data")): path.read_bytes()
            for path in sorted((root / "data").rglob("*"))
            if path.is_file()
        }
    with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)


if __name__ == "__main__":
    main()
