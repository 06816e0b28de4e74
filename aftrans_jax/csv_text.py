"""Rows as CSV text."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(rows: Iterable[Sequence[str | int | float]]) -> str:
    """Returns rows as CSV, from which `csv.reader` restores every name, whatever its characters.

    Texts are quoted, numbers are not: up to Python 3.11 csv quotes a carriage return in a name
    only where lines end in one.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()
