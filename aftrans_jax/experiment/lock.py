"""One training at a time in a working directory."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from aftrans_jax.training.records import DamagedRecordError, read_json


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other trainings out of a directory, which must exist, in a `with` block.

    The system ends the lock with the process, however it dies. The file `.lock` stays; it holds the
    number and the host of the process that locked it last. File systems that have no locks are
    used without.

    Raises:
      BlockingIOError: another process trains there.
    """
    path = workdir / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with open(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{workdir} is in use: {_holder(path)} trains there. Wait for it or stop it, or "
                "choose another --workdir"
            ) from error
        except OSError:
            pass  # no locks on this file system
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)
        file.flush()
        yield


def _holder(path: Path) -> str:
    def is_sound(value: object) -> bool:
        return isinstance(value, dict) and {"pid", "host"} <= value.keys()

    try:
        holder = read_json(path, is_sound, "the process that holds the lock")
    except DamagedRecordError:
        return "another process"  # it is just writing who it is
    return f"process {holder['pid']} on {holder['host']}"
