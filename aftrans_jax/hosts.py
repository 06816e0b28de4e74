"""The processes of one run on several hosts: they join, and end when one dies."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

# Seconds after which a dead process has ended the others.
_HEARTBEAT_SECONDS = 20
_START_AGAIN = "Start all processes again: the run is resumed\n"
_ABORTED = (
    "error: this process was ended from outside, or by jaxlib since another process of the run, "
    f"mostly the first one, is gone (its message is above). {_START_AGAIN}"
)
# Runs until its input ends; a process that ends in order has written something before.
_WATCH = "import sys\nif not sys.stdin.buffer.read(): sys.stderr.write(sys.argv[1])"


@contextlib.contextmanager
def joined(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Joins the other processes of a run; where one dies, this one ends within half a minute.

    Where the first process dies, jaxlib aborts the others with a stack trace. No Python handler
    runs then, so a small process that waits for the end of this one adds what to do.

    Args:
      coordinator: host:port of process 0; None where TPU pods, Slurm or GKE provide it.
      num_processes: number of processes, or None as above.
      process_id: number of this process, or None as above.

    Raises:
      RuntimeError, ValueError: the others cannot be found.
    """
    import jax  # takes seconds

    jax.distributed.initialize(
        coordinator, num_processes, process_id, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS
    )
    # JAX's own handler lets SIGTERM pass, and then holds up the exit; the run's is not there yet.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    with told_of_an_abort():
        yield


@contextlib.contextmanager
def told_of_an_abort() -> Iterator[None]:
    """Has a line written to standard error if this process ends without leaving the block."""
    watcher = subprocess.Popen(
        [sys.executable, "-S", "-c", _WATCH, _ABORTED],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C does not reach it
    )
    try:
        yield
    finally:
        watcher.communicate(b"left in order")


def leave_at_once(message: str) -> None:
    """Ends this process with a message: an ordinary exit would wait minutes for a dead process."""
    sys.stderr.write(f"{message}\n{_START_AGAIN}")
    sys.stderr.flush()
    os._exit(1)
