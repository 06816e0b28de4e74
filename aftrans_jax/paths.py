"""Paths as users write them: `~` and variables in them, and checks that they can be written."""

import os
import re
import tempfile
from pathlib import Path


def expand(path: str) -> str:
    """Returns a path with `~`, `~user` and `$VARIABLE` replaced, as a shell would.

    Shells do not replace them after the `=` of `--workdir=~/runs`.

    Raises:
      ValueError: the home directory or a variable is not known, or it is an address such as gs://.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        raise ValueError(
            f"{path!r} is an address, and only this machine's files can be read and written: "
            "download it, or mount the bucket (Google's by gcsfuse), and give the path"
        )
    expanded = os.path.expanduser(os.path.expandvars(path))
    if expanded.startswith("~"):
        raise ValueError(f"{path!r} names a home directory that is not known: write the whole path")
    if re.search(r"\$(\w+|\{\w+\})", expanded) and not os.path.lexists(expanded):
        raise ValueError(f"{path!r} names a variable that is not set: set it, or write the path")
    return expanded


def check_place(folder: Path, given: str, remedy: str = "") -> None:
    """Checks that files can be written in a folder, or that it can be made; does not make it.

    Args:
      folder: folder to check.
      given: the user's own spelling of it or of a file in it, such as "--out=x.html".
      remedy: what to do where they cannot be written; "" proposes another folder.

    Raises:
      OSError: they cannot; the message says why.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(
            f"{given}: {there} is a file: expected a folder, or a name that is free"
        )
    remedy = remedy or f"choose another {given.partition('=')[0]}"
    refused = PermissionError(f"{given}: {there} cannot be written: {remedy}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise refused
    try:  # of /proc, permissions say nothing
        tempfile.TemporaryFile(dir=there).close()
    except (FileNotFoundError, PermissionError) as error:
        raise refused from error


def check_file(path: Path, given: str) -> None:
    """Checks that a file can be written; does not make it.

    Args:
      path: path to check.
      given: the user's own spelling, such as "--out=x.html".

    Raises:
      OSError: it is a folder, or its folder cannot be written or made; the message says which.
    """
    if path.exists() and not path.is_file():
        kind, error = ("a folder", IsADirectoryError) if path.is_dir() else ("a device", OSError)
        raise error(f"{given}: {path} is {kind}: expected the name of a file")
    check_place(path.parent, given)
