"""Names that files may have, whatever they hold, come back from every CSV file that is written."""

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aftrans_jax.data.examples import Dataset
from aftrans_jax.files import csv_text
from aftrans_jax.inference.prediction_table import prediction_table
from aftrans_jax.workdir.image_lists import ListEntry, read_lists, write_lists
from aftrans_jax.workdir.predictions_csv import read_predictions, write_predictions

FEW = settings(deadline=None, max_examples=50)
ODD = ["a\rb", "\r", "c\r\nd", "e\nf", 'say "g", or', "'h", " i ", "1"]
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00") | st.sampled_from(
    '\r\n", '
)
NAMES = st.lists(st.text(LETTERS, min_size=1), min_size=1, max_size=5, unique=True)


@FEW
@given(names=NAMES)
@example(names=ODD)
def test_rows_are_read_as_they_were_written(names):
    rows = [[name, *names] for name in names]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows


def test_texts_are_quoted_and_numbers_are_not():
    assert csv_text([["a", "1"], ["", 2, 0.5]]) == '"a","1"\n"",2,0.5\n'


class Images:
    """Images of these names and labels, without pixels."""

    def __init__(self, names):
        self.names, self.labels = tuple(names), tuple(range(len(names)))

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        raise NotImplementedError


@FEW
@given(names=NAMES)
@example(names=ODD)
def test_predictions_and_lists_are_read_as_they_were_written(names):
    """The names are those of images and of classes at once."""
    images, count = Images(names), len(names)
    outcomes = {
        "index": np.arange(count),
        "label": np.arange(count),
        "predicted": {"global": np.arange(count)[::-1]},
        "confidence": {"global": np.full(count, 0.12345)},
    }
    lists = {name: ListEntry(name, "train") for name in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        write_predictions(path, Dataset("made up", images, images, tuple(names)), outcomes)
        found = read_predictions(path)
        write_lists(path, lists)
        assert read_lists(path) == lists
    assert found.names == found.true == tuple(names)
    assert found.predicted["global"] == tuple(names[::-1])
    assert found.confidence["global"] == pytest.approx(0.1235, abs=1e-9)


def test_the_table_of_predictions_has_names_with_line_ends(tmp_path):
    with prediction_table(tmp_path / "x.csv", heads=("global",), top=1) as add:
        for name in ODD:
            add(f"a{name}", ValueError(f"b{name}"))
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["error"]) for row in rows] == [(f"a{x}", f"b{x}") for x in ODD]
