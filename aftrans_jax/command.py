"""What all commands share: output that any terminal can take, and one line for any failure."""

import argparse
import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aftrans_jax.data.decoding.formats import lift_pillow_limit
from aftrans_jax.training.memory import oom_remedy
from aftrans_jax.wording import printable

PAGES = (".html", ".htm")  # suffixes of pages

# Where no batch is computed, or one of images to probe.
_LESS_MEMORY = (
    "lower eval.batch_size, take a smaller model, or take the machine's by JAX_PLATFORMS=cpu"
)
_REMEDIES = {  # part of what JAX or the system says -> what to do about it
    "Unable to initialize backend": "JAX_PLATFORMS=cpu runs on the CPU; unset, JAX takes what is "
    "there",
    "Unknown backend": "JAX_PLATFORMS=cpu runs on the CPU; unset, JAX takes what is there",
    "Permission denied": "Choose another place, or change its permissions",
    "Read-only file system": "Choose another place",
    "No space left on device": "Make room, or choose another place",
}

# What writing fails with once the reader of a pipe or a socket, or the terminal, is gone.
_UNREAD = (errno.EPIPE, errno.ECONNRESET, errno.EIO)

# Types whose messages are made for users; any other is a bug in the program.
_SPEAKING = (ValueError, OSError, ArithmeticError, RuntimeError, ImportError)


def nonempty_path(text: str) -> str:
    """Returns the argument of an argparse flag, as a path.

    Raises:
      ArgumentTypeError: it is empty, as from an unset shell variable.
    """
    if not text:
        raise argparse.ArgumentTypeError("it is empty: expected a path; or leave the flag out")
    return text


def check_suffix(
    parser: argparse.ArgumentParser, flag: str, path: str, suffixes: Sequence[str]
) -> None:
    """Ends the process with a line where a file to write has none of these suffixes.

    So a photo, a folder or a model that was named by mistake is not overwritten.
    """
    if Path(path).suffix.lower() not in suffixes:
        parser.error(f"--{flag}={path}: expected a name that ends in {' or '.join(suffixes)}")


def check_counts(parser: argparse.ArgumentParser, args: argparse.Namespace, *flags: str) -> None:
    """Ends the process with a line where one of these flags is below 1."""
    for flag in flags:
        if (value := getattr(args, flag)) < 1:
            parser.error(f"--{flag}={value}: expected 1 or more")


def say(line: str) -> None:
    """Writes a line to standard error, with names escaped to one line, above a bar of tqdm's."""
    tqdm.write(printable(line), file=sys.stderr)


def show(line: str) -> None:
    """Writes a line to standard output, above a bar of tqdm's."""
    tqdm.write(line, file=sys.stdout)


def outlive_readers() -> None:
    """Lets this process go on where what reads its output goes away: `| head`, a terminal.

    Standard output and error then discard what is written. They stay the same objects, since
    handlers of logs hold them.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        kept = {
            name: getattr(stream, name)
            for name in ("encoding", "errors", "line_buffering", "write_through")
        }
        before = stream.detach()
        raw = _Outliving(before)
        is_buffered = not isinstance(before, io.RawIOBase)  # `python -u` has no buffer
        io.TextIOWrapper.__init__(stream, io.BufferedWriter(raw) if is_buffered else raw, **kept)


class _Outliving(io.FileIO):
    """Writes to a descriptor, which becomes that of /dev/null once nobody can read it."""

    def __init__(self, before: Any) -> None:
        super().__init__(before.fileno(), "w", closefd=False)
        self._before = before  # may close the descriptor when it is dropped

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _UNREAD:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        return memoryview(data).nbytes


@contextlib.contextmanager
def one_line_errors(
    log_folder: Callable[[], Path | None] = lambda: None, *, has_begun: Callable[[], bool] = bool
) -> Iterator[None]:
    """Ends the process with one line on standard error when anything in the block fails.

    The process is the command's own, so Pillow's limit of pixels is lifted in it.

    Printed characters that cannot be encoded are escaped: an encoding such as Latin-1 may lack
    characters of names and tables. A closed stream, as by `2>&-`, reads as empty or discards.

    Args:
      log_folder: returns the folder for error.log with the traceback, called after a failure; None
        for no log. There is none either where the folder cannot be written or belongs to another
        process.
      has_begun: returns whether anything was written there so far. Before that, an error with a
        message made for users leaves the folder as it was.

    Raises:
      SystemExit: with status 1, or 130 after Ctrl-C.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: the next file opened would get its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # notebooks and tests use others
            stream.reconfigure(errors="backslashreplace")
    lift_pillow_limit()
    try:
        with oom_remedy(_LESS_MEMORY):
            yield
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:  # of any kind: users get one line, not a traceback
        error = _speaking(error)
        where = _write_log(log_folder, has_begun, error)
        sys.exit(f"error: {printable(_described(error))}{where}")


def _speaking(error: Exception) -> Exception:
    """Returns the error, or a clearer one where JAX was asked for a GPU and sees none."""
    places = traceback.extract_tb(error.__traceback__)
    if isinstance(error, AssertionError) and places[-1].filename.endswith("xla_bridge.py"):
        asked = os.environ.get("JAX_PLATFORMS", "")
        return RuntimeError(f"Unknown backend JAX_PLATFORMS={asked}: no such device is here")
    return error


def _described(error: Exception) -> str:
    """Returns an exception's message, its type where the text alone says little, and a remedy."""
    text = " ".join(str(error).split("\n")).strip()
    if isinstance(error, ImportError) and error.name == "fcntl":
        text = "files cannot be locked here: on Windows use WSL (https://aka.ms/wsl)"
    elif isinstance(error, ImportError):
        text += ". Install what is missing: pip install -r requirements.txt"
    elif isinstance(error, FileNotFoundError) and not error.filename and _has_lost_its_folder():
        text = "the folder that this was started in is gone: change to another one"
    elif not isinstance(error, _SPEAKING) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    remedies = [remedy for sign, remedy in _REMEDIES.items() if sign in text]
    return ". ".join([text.removesuffix("."), *remedies]) if remedies else text


def _has_lost_its_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _write_log(
    log_folder: Callable[[], Path | None], has_begun: Callable[[], bool], error: Exception
) -> str:
    """Returns where the traceback was written, in words, or nothing where it could not be."""
    try:
        folder = log_folder()
        if folder is None or isinstance(error, BlockingIOError):  # a lock: see `workdir.lock`
            return ""
        if isinstance(error, _SPEAKING) and not has_begun():
            return ""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.log").write_text(traceback.format_exc(), encoding="utf-8")
        return f"\n(traceback in {folder / 'error.log'})"
    except (OSError, ValueError):  # the disk may be what failed
        return ""
