"""The photos of the studies can be rebuilt from the public archives, as docs/studies.md says."""

import csv
import re
import shutil
import subprocess
from collections import Counter

import numpy as np
from places import ROOT

from aftrans_jax.data.sets.csv_list import read_csv
from aftrans_jax.data.sets.cub import read_cub
from aftrans_jax.data.sets.folder import read_folder

PETS = ROOT / "benchmarks" / "splits" / "pets37.csv"
STUDIES = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")


def test_the_list_of_pets_has_five_photos_of_each_breed_in_each_split():
    rows = list(csv.DictReader(PETS.read_text(encoding="utf-8").splitlines()))
    counts = Counter((row["label"], row["split"]) for row in rows)
    breeds = {row["label"] for row in rows}
    assert len(breeds) == 37
    assert counts == {(breed, split): 5 for breed in breeds for split in ("train", "test")}
    assert len({row["path"] for row in rows}) == 370
    assert all(re.fullmatch(rf"images/{row['label']}_\d+\.jpg", row["path"]) for row in rows)


def test_the_list_of_pets_gives_the_photos_of_the_runs_in_their_order(real, tmp_path):
    (tmp_path / "images").mkdir()
    for path in (real / "pets37").rglob("*.jpg"):
        (tmp_path / "images" / path.name).symlink_to(path)
    shutil.copy(PETS, tmp_path)
    listed, trained = read_csv(tmp_path / PETS.name), read_folder(real / "pets37")
    assert listed.class_names == trained.class_names
    for split, table in trained.tables().items():
        own = listed.tables()[split]
        assert not own.missing()
        files = [[name.rpartition("/")[2] for name in x.names] for x in (own, table)]
        assert files[0] == files[1]
        assert own.labels == table.labels


def test_the_birds_are_the_first_classes_of_cub(real, tmp_path):
    """Of the official lists, by the commands of the page."""
    whole, birds = tmp_path / "CUB_200_2011", real / "cub10" / "CUB_200_2011"
    whole.mkdir()
    for path in (real / "annotations" / "cub").glob("*.txt"):
        shutil.copy(path, whole)
    (whole / "images").symlink_to(birds / "images")
    (command,) = re.findall(r"^```bash\n(mkdir cub10 .*?)^```", STUDIES, re.M | re.S)
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True)
    made, trained = read_cub(tmp_path / "cub10"), read_cub(birds)
    assert made.class_names == trained.class_names
    assert [len(table) for table in made.tables().values()] == [300, 243]
    for split, table in trained.tables().items():
        own = made.tables()[split]
        assert not own.missing()
        assert (own.names, own.labels) == (table.names, table.labels)
        np.testing.assert_array_equal(own.boxes, table.boxes)
