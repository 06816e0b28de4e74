"""One training at a time in a working directory."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from aftrans_jax.json_files import DamagedRecordError, read_json
from aftrans_jax.locks import open_locked

LOCK = ".lock"  # remains wherever anything was ever trained


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other trainings out of a directory, which must exist, in a `with` block.

    The system releases the lock when the process ends, however it ends. The file `.lock` stays; it
    holds the number and host of the process that locked it last. On file systems without locks
    there is no protection.

    Raises:
      BlockingIOError: another process trains there.
    """
    path = workdir / LOCK
    try:
        file = open_locked(path, wait=False)
    except BlockingIOError as error:
        raise BlockingIOError(
            f"{workdir} is in use: {_holder(path)} trains there. Wait for it or stop it, or "
            "choose another --workdir"
        ) from error
    with file:
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        file.flush()
        yield


def _holder(path: Path) -> str:
    def is_sound(value: object) -> bool:
        return isinstance(value, dict) and {"pid", "host"} <= value.keys()

    try:
        holder = read_json(path, is_sound, "the process that holds the lock")
    except DamagedRecordError:
        return "another process"  # it has not written its number yet
    return f"process {holder['pid']} on {holder['host']}"
