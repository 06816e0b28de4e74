"""The table of a study or a comparison: its figures, as Markdown and CSV."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aftrans_jax.files import csv_text
from aftrans_jax.model.heads import HEADS
from aftrans_jax.studies.cost import gflop
from aftrans_jax.studies.finished_runs import Pairing, TableRow, paired
from aftrans_jax.studies.intervals import (
    LEAST_DIFFERING,
    Interval,
    mean_and_deviation,
    paired_difference,
)

SPLITS = {"test": False, "validation": True}
_ABSENT = "\N{EN DASH}"
_NOTES = """\
Accuracies are mean ± sample standard deviation over the seeds, in percent of the images. The
difference is in points, of the logits that the line is judged by, to {base}; its 95 % interval is a
percentile bootstrap over images and seeds, of the images alone where there is one seed. An image
differs where one is right and the other wrong, with any seed; fewer than {least} of them are
counted in the place of an interval, which would be too narrow. Where not all seeds and images of
both could be paired, it says of how many it is. GFLOP are those of one image's forward pass for
these logits, with eval.mirror of its mirror image's too: two for a product and its sum in matrix
products and convolutions, of resampling too; operations on single elements, such as GELU, are not
counted: with them, as XLA counts, it is up to 5.5 % more. MFU goes by the same count. Images a
second are of training.""".replace("\n", " ")


class RowFigures(NamedTuple):
    """The figures of a table's row.

    Attributes:
      row: setting, logits and runs.
      accuracies: mean and standard deviation in percent by split and logits, where there are any.
      num_images: number of tested images.
      gflop: GFLOP of a prediction.
      images_per_second: speed of training, None where no run has it.
      difference: difference to the base; None for the base itself, and where nothing can be paired.
      pairing: images and seeds paired with the base; None where there is no difference.
    """

    row: TableRow
    accuracies: Mapping[tuple[str, str], tuple[float, float]]
    num_images: int
    gflop: float
    images_per_second: float | None
    difference: Interval | None
    pairing: Pairing | None

    @property
    def accuracy(self) -> tuple[float, float]:
        """Mean and standard deviation on the test images, by the row's own logits."""
        return self.accuracies["test", self.row.head]


def figures(rows: Sequence[TableRow], base: TableRow | None) -> list[RowFigures]:
    """Returns the figures of rows, in their order.

    Args:
      rows: at least one row.
      base: row that they are compared with, None where it is not finished yet.

    Raises:
      ValueError: a row and the base have no test image in common.
    """
    return [_figures(row, base) for row in rows]


def _figures(row: TableRow, base: TableRow | None) -> RowFigures:
    accuracies = {}
    for split, validation in SPLITS.items():
        for head in HEADS:
            if (by_seed := row.accuracies(head, validation=validation)) is not None:
                accuracies[split, head] = mean_and_deviation(by_seed)
    pairing = None if base is None or row.name == base.name else paired(row, base)
    run = row.runs[0]
    return RowFigures(
        row,
        accuracies,
        num_images=len(run.predictions.names),
        gflop=gflop(run.settings, run.result["num_classes"], row.head),
        images_per_second=row.mean("images_per_second"),
        difference=None if pairing is None else paired_difference(pairing.ours, pairing.base),
        pairing=pairing,
    )


def columns(table: Sequence[RowFigures]) -> list[tuple[str, str]]:
    """Returns the splits and logits for which any row has an accuracy, in the table's order."""
    keys = [(split, head) for split in SPLITS for head in HEADS]
    return [key for key in keys if any(key in entry.accuracies for entry in table)]


def header(table: Sequence[RowFigures]) -> list[str]:
    """Returns the titles of the columns."""
    names = [head if split == "test" else f"{split} {head}" for split, head in columns(table)]
    papers = ["paper"] if any(entry.row.paper is not None for entry in table) else []
    return [
        "row",
        "judged by",
        "seeds",
        *names,
        "difference (95 %)",
        "images",
        "GFLOP an image",
        "images/s",
        *papers,
    ]


def cells(table: Sequence[RowFigures]) -> Iterator[list[str]]:
    """Yields the columns of each row as text, in the order of `header`."""
    has_paper = "paper" in header(table)
    for entry in table:
        accuracies = [percent(entry.accuracies.get(key)) for key in columns(table)]
        speed = entry.images_per_second
        paper = entry.row.paper
        yield [
            *(entry.row.setting, entry.row.head, str(len(entry.row.runs)), *accuracies),
            points(entry.difference, entry.pairing),
            str(entry.num_images),
            f"{entry.gflop:.3g}",
            _ABSENT if speed is None else f"{speed:.3g}",
            *([_ABSENT if paper is None else f"{paper:.1f}"] if has_paper else []),
        ]


def percent(value: tuple[float, float] | None) -> str:
    """Returns a mean and a standard deviation as text."""
    if value is None:
        return _ABSENT
    mean, deviation = value
    return f"{mean:.1f}" if math.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"


def points(value: Interval | None, pairing: Pairing | None) -> str:
    """Returns a difference, its interval, and the seeds or images it covers if not all, as text."""
    if value is None or pairing is None:
        return _ABSENT
    interval = f"{value.low:+.1f} to {value.high:+.1f}"
    if math.isnan(value.low):
        verb = "s differ" if value.num_differing != 1 else " differs"
        interval = f"{value.num_differing} image{verb}"
    part = f"; {pairing.part}" if pairing.part else ""
    return f"{value.difference:+.1f} ({interval}{part})"


def notes(base: TableRow | None) -> str:
    """Returns a paragraph that explains the figures."""
    return _NOTES.format(
        base="the base" if base is None else f"“{base.name}”", least=LEAST_DIFFERING
    )


def markdown(
    title: str,
    table: Sequence[RowFigures],
    base: TableRow | None,
    command: str,
    changed: Sequence[Sequence[str]] = (),
) -> str:
    """Returns the table as Markdown, with the changed settings and the command that made it."""
    lines = [f"# {title}", "", *_markdown_rows([header(table), *cells(table)]), "", notes(base)]
    if len(changed) > 1:
        lines += ["", "What was changed:", "", *_markdown_rows(changed)]
    elif changed:
        lines += ["", "No setting was changed, seeds aside."]
    return "\n".join([*lines, "", f"    {command}", ""])


def _markdown_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in ruled]


def comma_separated(table: Sequence[RowFigures]) -> str:
    """Returns the table as CSV with numbers of six digits, empty where there is none."""
    names = [f"{split}_{head}_{end}" for split, head in columns(table) for end in ("mean", "std")]
    rows: list[list[Any]] = [
        [
            "row",
            "judged_by",
            "seeds",
            *names,
            "difference",
            "difference_low",
            "difference_high",
            "differing_images",
            "paired_seeds",
            "paired_images",
            "images",
            "gflop_an_image",
            "images_per_second",
            "paper",
        ]
    ]
    for entry in table:
        nothing = (math.nan, math.nan)
        numbers = [x for key in columns(table) for x in entry.accuracies.get(key, nothing)]
        numbers += entry.difference or (math.nan,) * 4
        numbers += (math.nan,) * 2 if entry.pairing is None else entry.pairing.ours.shape
        numbers += [entry.num_images, entry.gflop, entry.images_per_second, entry.row.paper]
        seeds = " ".join(str(run.seed) for run in entry.row.runs)
        rows.append([entry.row.setting, entry.row.head, seeds, *map(_number, numbers)])
    return csv_text(rows)


def _number(value: float | int | None) -> float | int | str:
    if value is None or math.isnan(value):
        return ""
    return value if isinstance(value, int) else float(f"{value:.6g}")
