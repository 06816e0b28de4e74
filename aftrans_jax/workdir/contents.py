"""The files that a run writes into its directory, and checks for other files in their place."""

import os
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from aftrans_jax.paths import check_file
from aftrans_jax.training.checkpoint_numbers import checkpoint_numbers
from aftrans_jax.wording import first_few
from aftrans_jax.workdir.lock import LOCK
from aftrans_jax.workdir.record import written_settings

FOLDERS = ("checkpoints", "broken_checkpoints", "report", "tensorboard", "profile")
FILES = (
    "config.json",
    "classes.json",
    "lists.csv.gz",
    "image_folder.txt",
    "parameters.txt",
    "commands.txt",
    "metrics.jsonl",
    "skipped_images.json",
    "checkpoints/scores.json",
    "report/index.html",
    "predictions.csv",
    "result.json",
    LOCK,
    "error.log",
)
SCORES = ("eval-*.json", "eval-*.predictions.csv")
# Files of an earlier run without checkpoints that a new run would continue; it overwrites the
# others.
_FORGOTTEN = ("commands.txt", "metrics.jsonl", "skipped_images.json", "tensorboard", *SCORES)


def check_contents(workdir: Path) -> None:
    """Checks that a training may replace and remove the files of a directory, which may be absent.

    Raises:
      ValueError: it has files of these names, and no record of a run.
      OSError: there is a file in the place of a folder, or a folder in the place of a file.
    """
    for name in (*FOLDERS, *FILES):
        path = workdir / name
        expected = name in FOLDERS
        if os.path.lexists(path) and path.is_dir() != expected:
            error = NotADirectoryError if expected else IsADirectoryError
            kind, wanted = ("no folder", "one") if expected else ("a folder", "a file")
            raise error(
                f"{path} is {kind}: expected {wanted}, which a run writes there. Move it "
                "elsewhere, or choose another --workdir"
            )
    if (workdir / LOCK).exists() or _holds_record(workdir):
        return
    patterns = [name for name in (*FILES, *SCORES, "tensorboard/*") if name != "error.log"]
    others = [path for pattern in patterns for path in workdir.glob(pattern)]
    if others:
        names = first_few([str(path.relative_to(workdir)) for path in others])
        raise ValueError(
            f"--workdir={workdir} has no record of a run, but what one would replace or remove: "
            f"{names}. Choose another, such as "
            f"--workdir={workdir / 'run'}"
        )


def check_output(path: Path, given: str) -> None:
    """Checks that a file can be written and is not one of a run's own; makes nothing.

    Args:
      path: path to check.
      given: the user's own spelling, such as "--out=x.csv".

    Raises:
      OSError: it cannot be written, see `paths.check_file`.
      ValueError: it is a run's; the message says which.
    """
    check_file(path, given)
    place = Path(os.path.realpath(path))
    for folder in place.parents[:2] if place.exists() else ():
        name = place.relative_to(folder).as_posix()
        if any(fnmatchcase(name, own) for own in (*FILES, *SCORES)) and _holds_record(folder):
            raise ValueError(
                f"{given}: {name} is a file of the run in {folder}: expected another name"
            )


def forget_earlier(workdir: Path) -> None:
    """Removes files that a new run must not continue, of an earlier one without checkpoints."""
    for pattern in _FORGOTTEN:
        for path in workdir.glob(pattern):
            is_folder = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if is_folder else path.unlink()


def _holds_record(folder: Path) -> bool:
    try:
        return bool(checkpoint_numbers(folder / "checkpoints") or written_settings(folder))
    except ValueError:  # keys of another program
        return False
