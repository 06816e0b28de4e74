"""The process that reads .mat files: started once, and again after a crash."""

import atexit
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from aftrans_jax.data.sets import mat_child

TIME_LIMIT_S = 120.0  # the largest official list takes one second

_lock = threading.Lock()
_running: list[subprocess.Popen[bytes]] = []  # at most one


def read_columns(
    path: Path, columns: Sequence[str], struct: str | None, *, time_limit_s: float = TIME_LIMIT_S
) -> dict[str, list[object]] | str:
    """Returns the elements of columns of a .mat file, or why it cannot be read.

    Single flipped bits make scipy's reader crash or run forever; only the other process ends then.

    Args:
      path: path of the file.
      columns: names of variables, or of fields of the struct array.
      struct: name of the struct array; None for plain variables.
      time_limit_s: time after which reading is given up.
    """
    request = json.dumps([str(path), struct or "", list(columns)])
    with _lock:
        child = _child()
        assert child.stdin is not None
        assert child.stdout is not None
        too_long = threading.Timer(time_limit_s, child.kill)
        too_long.start()
        try:
            child.stdin.write(f"{request}\n".encode())
            child.stdin.flush()
            answer = child.stdout.readline()
        except BrokenPipeError:
            answer = b""
        expired = not too_long.is_alive()
        too_long.cancel()
        if answer.endswith(b"\n"):
            return json.loads(answer)
        code = _end()
    if expired:
        return f"reading took longer than {time_limit_s} s"
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"the process that reads it ended with {how}"


def _child() -> subprocess.Popen[bytes]:
    if not _running:
        _running.append(
            subprocess.Popen(
                [sys.executable, "-P", mat_child.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
    return _running[0]


@atexit.register
def _end() -> int:
    """Ends the process, if there is one; returns its exit code."""
    if not _running:
        return 0
    with _running.pop() as child:  # closes its pipes, which ends it
        pass
    return child.returncode
