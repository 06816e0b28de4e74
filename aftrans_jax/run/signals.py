"""SIGTERM, SIGINT and SIGHUP between start and exit: unsaved work is saved, then it ends."""

import contextlib
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

_ASKED = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_ASKED, signal.SIGHUP)  # the last one: the terminal or the connection is gone
_SAME = 0.5  # seconds: timeout(1) signals the process and its group, so the process twice
_AGAIN = 0.05  # seconds until an exception that Python had to drop is raised again


class Stopped(KeyboardInterrupt):
    """A signal ended the run; the message says what is saved.

    Not an `Exception`: code that handles errors must let it pass.

    Attributes:
      exit_code: 128 + the number of the signal.
      agreed: whether all of several processes stop here; otherwise others may wait for this one.
    """

    def __init__(self, message: str, number: int, *, agreed: bool) -> None:
        """Takes the line for the user, the number of the signal, and `agreed`."""
        super().__init__(message)
        self.exit_code = 128 + number
        self.agreed = agreed


class StopRequest:
    """A handler that turns the first signal into `Stopped`, once nothing is unsaved.

    In its `with` block a signal raises `Stopped` at once; within `deferring()` it only sets a flag,
    which is never reset, and on which several processes agree: one that left alone would keep the
    others waiting. A later second signal ends the process, also during compilation, when Python
    runs no handlers. SIGHUP is neither first nor second of two: shell and kernel send one each, and
    a session's end another signal. Where it is ignored, as by nohup, it stays so. Off the main
    thread, where Python takes no signals, this does nothing.

    Attributes:
      saved: part of the message that says what is saved so far.
      agree_every: number of batches after which several processes agree on stopping.
    """

    def __init__(self) -> None:
        self.saved = "stopped before the first step was saved: the same command starts again"
        self.agree_every = 1
        self._requested = 0
        self._deferred = False
        self._resent = 0
        self._again = threading.Timer(0, lambda: None)
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            if before[signal.SIGHUP] == signal.SIG_IGN:
                del before[signal.SIGHUP]
            self._previous = before
            self._watch()
            self._previous_hook = sys.unraisablehook
            sys.unraisablehook = self._raise_again
            for number in before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._again.cancel()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._previous:
            if sys.unraisablehook == self._raise_again:  # leave a hook that was set since
                sys.unraisablehook = self._previous_hook
            signal.set_wakeup_fd(self._previous_wakeup)
            self._sending.close()  # ends the thread

    @contextlib.contextmanager
    def deferring(self, *, agreeing: bool = True, raising: bool = True) -> Iterator[None]:
        """Lets a `with` block run to its end; then raises `Stopped` where a signal has come.

        Args:
          agreeing: whether signals of other processes count; then all processes must get here.
          raising: whether it raises; False while an error is on its way.
        """
        with self._set_deferred(True):
            yield
            if (self(0) if agreeing else self._requested) and raising:
                raise self._stopped(agreed=agreeing)

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Within `deferring()`, marks a `with` block in which nothing is unsaved.

        A signal ends it where it is. Several processes, which must all get here, agree before it,
        run to its end, and agree again where they next do.
        """
        with self._set_deferred(jax.process_count() > 1):
            if self(0):
                raise self._stopped(agreed=True)
            yield

    def __call__(self, number: int) -> bool:
        """Returns whether to stop after a batch.

        Several processes agree on it, since a signal reaches them at different steps, or only one.
        """
        if jax.process_count() > 1:
            if number % self.agree_every:
                return False
            asked = int(multihost_utils.process_allgather(np.array(self._requested)).max())
            self._requested = self._requested or asked  # keep a signal that came meanwhile
            return bool(asked)
        return bool(self._requested)

    @contextlib.contextmanager
    def _set_deferred(self, deferred: bool) -> Iterator[None]:
        before = self._deferred
        self._deferred = deferred
        try:
            yield
        finally:
            self._deferred = before

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._requested = self._requested or number
        if not self._deferred:
            raise self._stopped(agreed=False)

    def _raise_again(self, dropped: Any) -> None:
        """Calls the handler once more where Python had to drop what it raised.

        This happens in callbacks of the garbage collector, of which JAX has one, and in `__del__`.
        """
        if not isinstance(dropped.exc_value, Stopped):
            self._previous_hook(dropped)
            return
        self._again = threading.Timer(_AGAIN, self._send_again)
        self._again.daemon = True
        self._again.start()

    def _send_again(self) -> None:
        self._resent += self._requested in _ASKED  # the thread of `_watch` counts no other
        # A real signal, which also interrupts a blocking call.
        signal.pthread_kill(threading.main_thread().ident or 0, self._requested)

    def _stopped(self, *, agreed: bool) -> Stopped:
        name = signal.Signals(self._requested).name
        agreed = agreed and jax.process_count() > 1
        return Stopped(f"{name}: {self.saved}", self._requested, agreed=agreed)

    def _watch(self) -> None:
        """Starts the thread that ends the process at the second signal."""
        receiving, self._sending = socket.socketpair()
        self._sending.setblocking(False)
        self._previous_wakeup = signal.set_wakeup_fd(
            self._sending.fileno(), warn_on_full_buffer=False
        )

        def watch() -> None:
            first = math.inf
            with receiving:
                while number := receiving.recv(1):  # empty once the other end is closed
                    if number[0] not in _ASKED:
                        continue
                    if self._resent:
                        self._resent -= 1  # sent by ourselves, so not a second one
                        continue
                    first = min(first, time.monotonic())
                    if time.monotonic() - first > _SAME:
                        name = signal.Signals(number[0]).name
                        with contextlib.suppress(OSError):  # where nobody can read it
                            sys.stderr.write(f"{name} again: ended without saving\n")
                        os._exit(128 + number[0])

        threading.Thread(target=watch, daemon=True, name="second signal").start()
