"""Functions in Python processes of their own, which stop where they say so. On Linux alone.

Started as a program, this file is such a process; it imports what it is asked to run, and no more.
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
    """What a worker tells: a value on its way, or what its function returned."""

    value: Any
    is_last: bool


class Worker:
    """A function in a process of its own.

    It is called with the arguments and a `talk` by which it hands out a value and waits for an
    answer.
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
          function: as "package.module:name".
          args: of the function, pickled.
          folder: of the packages `benchmarks` and `aftrans_jax`, these by default.
          environment: variables that the process gets beside this one's.
        """
        folder = folder or Path(__file__).parents[2]
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        self._function, (self._pipe, other_end) = function, Pipe()
        command = [sys.executable, "-P", "-m", __name__, str(other_end.fileno())]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            pass_fds=[other_end.fileno()],
        )
        other_end.close()  # so that its end shows here
        self._pipe.send((function, args))

    def listen(self, timeout: float | None = None) -> Message:
        """Returns what the process tells next.

        Args:
          timeout: seconds to wait, for ever if None.

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
            self._process.wait()  # what it holds of the device is free from here on
            self._pipe.close()
        if kind in ERRORS:
            raise ERRORS[kind](value)
        return Message(value, kind == "returned")

    def answer(self, value: Any = None) -> None:
        """Lets the function go on with an answer."""
        self._pipe.send(value)

    def result(self, timeout: float | None = None) -> Any:
        """Returns what the function returns; whatever it says before is answered with None."""
        while not (message := self.listen(timeout)).is_last:
            self.answer()
        return message.value

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


ERRORS: Mapping[str, type[Exception]] = {
    "left out": LeftOutError,
    "lacking": LackingError,
    "failed": WorkerError,
}


def serve(pipe: Connection) -> None:
    """Runs the function that is asked for, and tells what becomes of it."""

    def talk(value: Any) -> Any:
        pipe.send(("said", value))
        return pipe.recv()

    try:
        function, args = pipe.recv()
        message = "returned", pkgutil.resolve_name(function)(*args, talk)
    except (EOFError, BrokenPipeError):
        return  # nobody listens any more
    except LeftOutError as error:
        message = "left out", str(error)
    except ImportError as error:
        message = "lacking", str(error)
    except Exception:  # whatever it is, the other process reports it
        message = "failed", traceback.format_exc()
    pipe.send(message)


def forget_editable_install() -> None:
    """Takes out setuptools' finder, which would add to a package the modules that it lacks."""
    installed = "__editable___aftrans_jax"
    sys.meta_path[:] = [x for x in sys.meta_path if not x.__module__.startswith(installed)]


if __name__ == "__main__":
    # It ends with the process that started it, whatever ends that.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    forget_editable_install()
    serve(Connection(int(sys.argv[1])))
