"""Files that one process at a time writes; without protection on file systems without locks."""

import fcntl
import os
from pathlib import Path
from typing import IO


def open_locked(path: Path, *, wait: bool, buffering: int = -1) -> IO[bytes]:
    """Returns a file, open for reading and writing, that no other process owns; made if missing.

    It is owned until it is closed, which the system does however a process dies. Owners may rename
    or delete it before that: a process that waited gets the file that has the name afterwards.

    Args:
      path: path of the file.
      wait: whether to wait until another process releases it.
      buffering: see `open`.

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
