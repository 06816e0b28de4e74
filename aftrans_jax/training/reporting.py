"""Writes metrics: a progress bar or plain lines, metrics.jsonl, TensorBoard."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from aftrans_jax.files import with_filename
from aftrans_jax.json_files import finite

Number = int | float


class MetricsLog:
    """A log in metrics.jsonl and, with tensorboardX, in TensorBoard's event files.

    Only the first process writes. metrics.jsonl needs no package and survives a killed run.
    """

    def __init__(self, workdir: Path, *, tensorboard: bool) -> None:
        """Opens the logs below `workdir`; `tensorboard` asks for event files as well.

        Prints a line where a package for these is missing.
        """
        self._path = workdir / "metrics.jsonl"
        self._tensorboard = None
        self._writes = jax.process_index() == 0
        if self._writes:
            _end_last_line(self._path)
        if tensorboard and self._writes:
            try:
                from aftrans_jax.training.events import EventFile
            except ImportError as error:
                print(f"TensorBoard is off: {error}. To turn it on: pip install tensorboardX")
            else:
                self._tensorboard = EventFile(workdir / "tensorboard")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends one record, a flat JSON object with its step and split.

        TensorBoard gets no `_mean` that is NaN: one over no image, as of sets without boxes.
        """
        if not self._writes:
            return
        record = finite({"step": step, "split": split, **values})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise with_filename(error, self._path) from None
        if self._tensorboard is not None:
            scalars = {
                f"{split}/{name}": value
                for name, value in values.items()
                if not (name.endswith("_mean") and math.isnan(value))
            }
            self._tensorboard.write_scalars(step, scalars)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes settings by key to TensorBoard as hyper-parameters; lists as text."""
        if self._tensorboard is not None:
            plain = {
                key: value if isinstance(value, bool | int | float | str) else str(value)
                for key, value in settings.items()
            }
            self._tensorboard.write_hparams(plain)

    def write_images(
        self, step: int, images: Mapping[str, Callable[[], UInt8[np.ndarray, "height width 3"]]]
    ) -> None:
        """Writes images by name to TensorBoard; without TensorBoard none is drawn."""
        if self._tensorboard is not None:
            self._tensorboard.write_images(step, {name: draw() for name, draw in images.items()})

    def close(self) -> None:
        """Closes TensorBoard's file; metrics.jsonl is opened only for each record."""
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def history(self, split: str = "train") -> list[dict[str, Number]]:
        """Returns the records of a split so far, see `read_history`."""
        return read_history(self._path, split)


def read_history(path: Path, split: str = "train") -> list[dict[str, Number]]:
    """Returns the records of a split in a metrics.jsonl, including those before a resumption.

    A line cut short by a kill, or damaged since, is skipped; a missing file has no records.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    records = {}
    for line in lines:
        record = _record(line, split)
        if record is not None:
            records[record["step"]] = record  # a resumed run repeats steps; the last one counts
    return [records[step] for step in sorted(records)]


def _record(line: bytes, split: str) -> dict[str, Number] | None:
    """Returns the numbers of a line, null as NaN; None where it is damaged or of another split."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(record, dict) and record.pop("split", None) == split):
        return None
    record = {key: math.nan if value is None else value for key, value in record.items()}
    numbers = all(type(value) in (int, float) for value in record.values())
    return record if numbers and isinstance(record.get("step"), int) else None


def _end_last_line(path: Path) -> None:
    """Ends a line that a kill cut short, so that the next record gets a line of its own."""
    if path.exists() and path.read_bytes()[-1:] not in (b"", b"\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")


_SHOWN = (
    ("loss", "loss", ".3f"),
    ("accuracy", "accuracy", ".1%"),
    ("images/s", "images_per_second", ".1f"),
    ("MFU", "mfu", ".1%"),
)


class Progress:
    """A bar with loss, accuracy, images/s and time left; without a terminal, one line a report."""

    def __init__(self, num_steps: int) -> None:
        """Shows nothing until `start`."""
        self._num_steps = num_steps
        self._start = 0
        self._began: float | None = None  # after the first step, which is compiled
        self._bar: tqdm | None = None

    def start(self, step: int) -> None:
        """Starts counting at a step: at the checkpoint's where a run resumes."""
        self._start = step
        self._began = None
        if sys.stderr.isatty() and jax.process_index() == 0:
            self._bar = tqdm(total=self._num_steps, initial=step, unit="step", dynamic_ncols=True)

    def advance(self) -> None:
        """Moves the bar by one step."""
        self._began = self._began or time.monotonic()
        if self._bar is not None:
            self._bar.update()

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the averages of the last steps."""
        shown = {
            name: f"{values[key]:{form}}"
            for name, key, form in _SHOWN
            # No speed or peak yet, or float16 skipped all batches.
            if math.isfinite(values.get(key, math.nan))
        }
        terms = [
            f"{name.removesuffix('_loss')} {value:.3f}"
            for name, value in values.items()
            if name.endswith("_loss")
        ]
        if "loss" in shown and len(terms) > 1:
            shown["loss"] += f" ({', '.join(terms)})"
        if self._bar is not None:
            self._bar.set_postfix(shown)
        else:
            if self._began and (timed := step - self._start - 1) > 0:
                seconds = (time.monotonic() - self._began) / timed
                shown["left"] = tqdm.format_interval(seconds * (self._num_steps - step))
            self.say(
                f"step {step}/{self._num_steps}  "
                + "  ".join(f"{name} {value}" for name, value in shown.items())
            )

    def say(self, line: str) -> None:
        """Prints a line, above the bar where there is one."""
        if jax.process_index() == 0:
            tqdm.write(line) if self._bar is not None else print(line, flush=True)

    def close(self) -> None:
        """Ends the bar and leaves it on the terminal."""
        if self._bar is not None:
            self._bar.close()
