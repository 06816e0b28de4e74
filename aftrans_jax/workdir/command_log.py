"""commands.txt: when and by which command a run was started and gone on with."""

import datetime
import shutil
from pathlib import Path

STARTS = "commands.txt"
# What a run adds to, and scores of its checkpoints. The rest is written anew at its end.
_ADDED_TO = ("metrics.jsonl", "tensorboard", "skipped_images.json", STARTS)
_SCORES = ("eval-*.json", "eval-*.predictions.csv")


def forget_earlier(workdir: Path) -> None:
    """Removes what a new run must not go on with, of an earlier one whose checkpoints are gone."""
    for pattern in (*_ADDED_TO, *_SCORES):
        for path in workdir.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def note_start(workdir: Path, command: str) -> None:
    """Adds a line with the time and the command."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    # A file name that is not UTF-8 reaches Python with surrogates.
    line = f"{now}  {command}\n".encode(errors="surrogateescape")
    with (workdir / STARTS).open("ab") as file:
        file.write(line)


def read_starts(workdir: Path) -> list[str]:
    """Returns the lines, none where there is no file."""
    path = workdir / STARTS
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
