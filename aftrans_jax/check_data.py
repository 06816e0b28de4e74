"""Examines a data set: `python -m aftrans_jax.check_data --config=configs/cub.py`.

Opens every image and prints what it found; exits with 1 where training would be wrong.
"""

import os
import shlex
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

from absl import app, flags

from aftrans_jax.command import one_line_errors
from aftrans_jax.data.doctor.examine import Diagnosis, clean, examine
from aftrans_jax.data.doctor.findings import problems, report
from aftrans_jax.data.examples import Dataset
from aftrans_jax.data.names import composed
from aftrans_jax.data.sets.annotations import Annotations
from aftrans_jax.data.sets.csv_list import check_rows, write_csv
from aftrans_jax.data.sets.named_classes import in_order
from aftrans_jax.flags import CONFIG, parse_flags
from aftrans_jax.paths import check_place
from aftrans_jax.wording import counted, printable

flags.declare_key_flag("config")  # so that --help shows it
_WRITE = flags.DEFINE_string(
    "write",
    None,
    "A new CSV file in the folder of the images or above it, to list what is usable as "
    "path,label,split: what can be read, no picture twice in train, under two labels or in "
    "two splits.",
)


def main(argv: list[str]) -> None:
    """Prints the report; exits with 1 where the data cannot be read or has problems."""
    del argv
    # Not needed for --help.
    from aftrans_jax.experiment.auto_settings import resolve_auto
    from aftrans_jax.experiment.data import lists_as_trained

    target = Path(_WRITE.value) if _WRITE.value else None
    with one_line_errors():
        CONFIG.value.pretrained = ""  # no weights are needed
        config, _ = resolve_auto(CONFIG.value)
        listed = lists_as_trained(config)
        if target:  # before opening, which takes minutes or hours
            _check(target, listed)
        diagnosis = examine(
            listed,
            tiny_px=config.data.local_size,
            num_threads=os.cpu_count() or 1,
            max_pixels=config.data.max_pixels,
        )
        wrong = problems(diagnosis)
        _print(*report(diagnosis), "", *(f"problem: {text}" for text in wrong))
        if target:
            _print(write_clean(target, diagnosis))
    if wrong:
        hint = ""
        if diagnosis.root and not target:
            place = shlex.quote(str(diagnosis.root / "clean.csv"))
            hint = f" --write={place} lists what is usable."
        sys.exit(f"Training on this set as it is would be wrong.{hint}")
    _print("No problems.")


def _print(*lines: str) -> None:
    for line in map(printable, lines):
        print(line)


def _check(target: Path, listed: Annotations | Dataset) -> None:
    """Raises a ValueError where the images of a set cannot be listed in a CSV file."""
    tables = listed.tables() if isinstance(listed, Annotations) else {}
    prefix = _prefix(target, next((table.root for table in tables.values()), None))
    for split, table in tables.items():
        pairs = zip(table.names, table.labels, strict=True)
        names = listed.class_names
        check_rows(target, ((f"{prefix / name}", names[label], split) for name, label in pairs))


def _prefix(target: Path, root: Path | None) -> PurePosixPath:
    """Returns the path of the images' folder from that of the CSV file to write."""
    if root is None:
        raise ValueError("--write: the images of this set are not files. Leave the flag out.")
    if target.exists():
        raise ValueError(f"--write={target}: expected a new file. Delete it or choose another.")
    check_place(target.parent, f"--write={target}")
    folder = Path(os.path.abspath(target.parent))
    images = Path(os.path.abspath(root))
    if not (folder.is_dir() and images.is_relative_to(folder)):
        raise ValueError(
            f"--write={target}: expected a file in the folder of the images, {root}, or in one "
            f"above it. Use --write={root.parent / target.name}"
        )
    return PurePosixPath(images.relative_to(folder).as_posix())


def write_clean(target: Path, diagnosis: Diagnosis) -> str:
    """Writes the list of usable images; returns a line that says how to train on them.

    Raises:
      ValueError: they have fewer than two classes, or none is for testing; or the file exists, or
        is not in a folder that the images' paths can start from.
    """
    images = clean(diagnosis)
    names = diagnosis.class_names
    number = Counter(image.split for image in images)
    used = [composed(names[label]) for label in sorted({image.label for image in images})]
    num_classes = len(used)
    if num_classes < 2 or not number["test"]:
        raise ValueError(
            f"--write: {number['train']} training and {number['test']} test images of "
            f"{counted(num_classes, 'class')} are usable: expected at least two "
            "classes and a test image. See above."
        )
    if used != in_order(set(used)):  # numbered, since classes of a CSV file are sorted by name
        width = len(str(len(names)))
        names = [f"{label:0{width}d}.{name}" for label, name in enumerate(names)]
    prefix = _prefix(target, diagnosis.root)
    write_csv(
        target,
        ((f"{prefix / image.name}", names[image.label], image.split) for image in images),
    )
    validation = f", {number['validation']} validation" if number["validation"] else ""
    return (
        f"wrote {target}: {number['train']} training{validation} and {number['test']} test images; "
        f"train on them by --config.data.name=csv --config.data.dir={shlex.quote(str(target))}"
    )


if __name__ == "__main__":
    with one_line_errors():
        app.run(main, flags_parser=parse_flags)
