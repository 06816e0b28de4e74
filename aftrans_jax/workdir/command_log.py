"""commands.txt: when and by which command a run was started and resumed."""

import datetime
from pathlib import Path

STARTS = "commands.txt"


def note_start(workdir: Path, command: str) -> None:
    """Adds a line with the time and the command."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    # File names that are not UTF-8 reach Python with surrogates.
    line = f"{now}  {command}\n".encode(errors="surrogateescape")
    with (workdir / STARTS).open("ab") as file:
        file.write(line)


def read_starts(workdir: Path) -> list[str]:
    """Returns the lines, an empty list where there is no file."""
    path = workdir / STARTS
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
