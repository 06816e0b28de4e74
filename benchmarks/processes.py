"""Steps of two libraries, each in a process of its own that tells its memory. On Linux alone."""

import ctypes
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import is_out_of_memory


class Side(NamedTuple):
    """A step that ran once.

    step: runs it again and awaits it.
    peak_bytes: the most memory that was held on the device, None where it keeps no account.
    state_bytes: what of it stays from step to step, the batch included.
    known: what to report beside time and memory.

    Choice: what a process needs to serve a step, and nothing of how the step came about.
    """

    step: Callable[[], Any]
    peak_bytes: Callable[[], int | None]
    state_bytes: int
    known: dict[str, Any]


def status_bytes(name: str) -> int:
    """Returns a figure of this process: "VmRSS", what it holds, or "VmHWM", the most it held.

    Choice: unlike `ru_maxrss`, it can be made to forget what compilation needed.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(kibibytes)


def forget_peak() -> int:
    """Hands freed memory back to the system, lets "VmHWM" begin anew, and returns "VmRSS".

    Choice: what compilation took is no part of a step.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status_bytes("VmRSS")


def serve(make: Callable[[], Side], pipe: Connection) -> None:
    """Runs a step whenever asked to, in a process of its own, then tells its memory.

    Choice: where memory runs out it says so and ends; any other error ends it with a traceback.
    """
    try:
        side = make()
    except RuntimeError as error:  # PyTorch's and JAX's are of this kind
        if not is_out_of_memory(error):
            raise
        pipe.send({"out_of_memory": True})
        return
    at_rest = forget_peak()
    pipe.send({"out_of_memory": False, **side.known})
    while pipe.recv():
        side.step()
        pipe.send(None)
    peak = side.peak_bytes()
    pipe.send(status_bytes("VmHWM") - at_rest + side.state_bytes if peak is None else peak)


class Worker:
    """A side in a process of its own; calling it runs one step there.

    Attributes:
      known: what the side told once its first step was done.

    Choice: spawned, so that neither library sees the other's threads or memory.
    """

    def __init__(self, name: str, make: Callable[[], Side]) -> None:
        """Starts the process and waits until its first step is done."""
        context = multiprocessing.get_context("spawn")
        self._name, (self._pipe, other_end) = name, context.Pipe()
        # A daemon: where another side fails, this one must not be waited for.
        self._process = context.Process(target=serve, args=(make, other_end), daemon=True)
        self._process.start()
        other_end.close()  # so that its end shows here
        self.known: dict[str, Any] = self._receive()
        if self.known["out_of_memory"]:
            self._process.join()  # what it holds of the device is free from here on

    def __call__(self) -> None:
        self._pipe.send(True)
        self._receive()

    def finish(self) -> int:
        """Ends the process; returns the most memory that its steps held, in bytes.

        Choice: asked for last, since asking ends it.
        """
        self._pipe.send(False)
        peak = self._receive()
        self._process.join()
        return peak

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            raise SystemExit(
                f"error: the process of {self._name!r} ended with exit code "
                f"{self._process.exitcode}: expected an answer. Its own message stands above"
            ) from None
