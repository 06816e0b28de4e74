"""Files that one process at a time writes; file systems that have no locks are used without."""

import fcntl
import os
from pathlib import Path
from typing import IO


def open_locked(path: Path, *, wait: bool, buffering: int = -1) -> IO[bytes]:
    """Returns a file, open to be read and written, that no other process owns, made where absent.

    It is owned until it is closed, which the system does however a process dies. Owners may rename
    or delete it before that: whoever waited gets the file that then has the name.

    Args:
      path: of the file.
      wait: until another process gives it up.
      buffering: as of `open`.

    Raises:
      BlockingIOError: another process owns it, and `wait` is False.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering)
        try:
            _lock(file, wait=wait)
            if _has_name(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes], *, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        pass  # no locks on this file system


def _has_name(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
