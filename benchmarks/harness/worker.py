"""Functions in separate Python processes, which stop where they hand out a value. Linux only.

Run as a program, this file is such a process; it imports only the function that it runs.
"""

import ctypes
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.errors import LackingError, LeftOutError, WorkerError

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>

Talk = Callable[[Any], Any]  # hands a value to the other process, returns its answer


class Message(NamedTuple):
    """A message of a worker: a value handed out, or the function's result."""

    value: Any
    is_last: bool


class Worker:
    """A function in a process of its own.

    The function is called with the arguments and a `talk`, which hands out a value and waits for
    an answer.
    """

    def __init__(
        self,
        function: str,
        *args: Any,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process.

        Args:
          function: name of the function, "package.module:name".
          args: arguments of the function, which are pickled.
          folder: folder of the packages `benchmarks` and `aftrans_jax`, by default this checkout's.
          environment: variables to add to this process's.
        """
        folder = folder or Path(__file__).parents[2]
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self._function = function
        (self._pipe, other_end) = Pipe()
        command = [sys.executable, "-P", "-m", __name__, str(other_end.fileno())]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            pass_fds=[other_end.fileno()],
        )
        other_end.close()  # so that its closing is noticed here
        self._pipe.send((function, args))

    def listen(self, timeout: float | None = None) -> Message:
        """Returns the next message of the process.

        Args:
          timeout: seconds to wait, forever if None.

        Raises:
          LeftOutError: the function raised it.
          LackingError: the function, or its arguments, could not be imported.
          WorkerError: the function failed, the process ended early, or the time is over.
        """
        try:
            if not self._pipe.poll(timeout):
                self.end()
                raise WorkerError(
                    f"{self._function} said nothing within {timeout} s: expected it to"
                )
            kind, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            status = self._process.wait()
            raise WorkerError(
                f"the process of {self._function} ended with exit code {status}: expected an "
                "answer. Its own message stands above"
            ) from None
        if kind != "said":
            self._process.wait()  # afterwards the device is free
            self._pipe.close()
        if kind in ERRORS:
            raise ERRORS[kind](value)
        return Message(value, kind == "returned")

    def answer(self, value: Any = None) -> None:
        """Lets the function continue with an answer."""
        self._pipe.send(value)

    def result(self, timeout: float | None = None) -> Any:
        """Returns the function's result; values handed out before are answered with None."""
        while not (message := self.listen(timeout)).is_last:
            self.answer()
        return message.value

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


ERRORS: Mapping[str, type[Exception]] = {
    "left out": LeftOutError,
    "lacking": LackingError,
    "failed": WorkerError,
}


def serve(pipe: Connection) -> None:
    """Runs the requested function, and reports its result or error."""

    def talk(value: Any) -> Any:
        pipe.send(("said", value))
        return pipe.recv()

    try:
        function, args = pipe.recv()
        message = "returned", pkgutil.resolve_name(function)(*args, talk)
    except (EOFError, BrokenPipeError):
        return  # the other process is gone
    except LeftOutError as error:
        message = "left out", str(error)
    except ImportError as error:
        message = "lacking", str(error)
    except Exception:  # of any kind: the other process reports it
        message = "failed", traceback.format_exc()
    pipe.send(message)


def forget_editable_install() -> None:
    """Removes setuptools' finder, which would add to a package the modules that it lacks."""
    installed = "__editable___aftrans_jax"
    sys.meta_path[:] = [x for x in sys.meta_path if not x.__module__.startswith(installed)]


if __name__ == "__main__":
    # This process ends with the one that started it, however that ends.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    forget_editable_install()
    serve(Connection(int(sys.argv[1])))
