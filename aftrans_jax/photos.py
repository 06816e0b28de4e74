"""Which photos the arguments of a command mean: files, folders, globs, lists."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from aftrans_jax.command import say
from aftrans_jax.data.sets.files import FoundFiles, find_files, helpers_among
from aftrans_jax.data.sets.lists import decoded
from aftrans_jax.paths import expand

ARGUMENTS = (
    "image files, folders (all photos below), quoted globs such as 'photos/**/*.jpg', or "
    "- for a list of files and folders on standard input, one a line or between zero bytes"
)
_MAGIC = "*?["  # signs of globs
_CLOSED = (
    "the folder or link {!r} cannot be read: give yourself the permission to, attach the disk that "
    "a link leads to, or move it elsewhere"
)


def find(given: Sequence[str]) -> tuple[list[str], int]:
    """Returns the paths of the images that arguments mean, each once, and the number of problems.

    A problem is an argument that means no image, or a folder that cannot be read. Each has its line
    on standard error; notes there say what else the folders hold.

    Args:
      given: files, folders, globs, or "-" for lines of standard input.

    Raises:
      ValueError: no argument means an image.
    """
    paths: dict[str, str] = {}
    others = FoundFiles()  # what is not named
    num_problems = repeated = 0
    for argument in given:
        try:
            files = _images(argument)
        except (OSError, ValueError) as error:
            files = FoundFiles()
            problems = [str(error)]
        else:
            problems = [_CLOSED.format(path) for path in files.closed]
            if not (files.photos or files.closed):
                problems.append(
                    "standard input lists no images: expected their paths, one a line"
                    if argument == "-"
                    else f"{argument!r} holds or matches no images"
                )
        for problem in problems:
            say(f"error: {problem}")
        num_problems += len(problems)
        others = _joined((others, files._replace(photos=(), closed=())))
        for path in files.photos:
            place = os.path.abspath(path)
            repeated += place in paths
            paths.setdefault(place, path)
    if repeated:
        say(
            f"note: {repeated} images were given more than once; each is named once, in its first "
            "place"
        )
    for note in _once(others).notes():
        say(f"note: {note}")
    if not paths:
        raise ValueError("there are no images: expected files, folders, globs or a list of them")
    return list(paths.values()), num_problems


def _images(argument: str) -> FoundFiles:
    """Returns the files that one argument means, sorted where it does not list them."""
    if argument == "-":
        try:
            text = decoded(sys.stdin.buffer.read(), any_bytes=True)
        except UnicodeDecodeError as error:
            raise ValueError(f"standard input is no list in UTF-8 or UTF-16: {error}") from error
        if "\0" in text:  # of find -print0
            return _joined(_below(path) for path in text.split("\0") if path)
        lines = re.split(r"\r?(?:\n|$)", text)
        return _joined(_below(path) for path in lines if path.strip())
    argument = argument if os.path.lexists(argument) else expand(argument)
    if os.path.lexists(argument) or not any(char in argument for char in _MAGIC):
        return _below(argument)
    return _once(_matches(argument))


def _matches(pattern: str) -> FoundFiles:
    """Returns the files that a glob matches; helpers of programs only where it names them."""
    pattern = re.sub("//+", "/", pattern)  # as the matches are written
    first = min(pattern.index(char) for char in _MAGIC if char in pattern)
    root = pattern[: pattern.rfind("/", 0, first) + 1]  # what every match begins with
    parts = pattern[len(root) :].split("/")
    matches = sorted(_expanded(root, parts))
    names = [path.removeprefix(root).removesuffix("/") for path in matches]
    helpers = dict.fromkeys(helpers_among(root, names, asked=parts))
    kept = (_below(root + name or ".") for name in names if name not in helpers)
    return _joined((FoundFiles(helpers=tuple(root + name for name in helpers)), *kept))


def _expanded(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Yields what parts of a glob match in a folder, as `glob.glob` does.

    `**` at the end is the folder, whose photos are all those below.
    """
    part, *rest = parts or [""]
    if part in ("", "**") and not any(rest):
        yield folder
    elif part == "**":
        for below in _folders(folder):
            yield from _expanded(below, rest)
    else:
        for name in glob.glob(part, root_dir=folder):
            if os.path.isdir(folder + name):
                yield from _expanded(f"{folder}{name}/", rest)
            elif not rest:
                yield folder + name


def _folders(folder: str, above: tuple[Path, ...] = ()) -> Iterator[str]:
    """Yields a folder and those below it, not through links to a folder that contains them.

    Two such links in one folder keep `glob.glob` from ending. `above` are the real paths passed.
    """
    here = Path(os.path.realpath(folder))
    if any(parent.is_relative_to(here) for parent in above):
        return
    yield folder
    for name in glob.glob("*/", root_dir=folder):
        yield from _folders(folder + name, (*above, here))


def _joined(parts: Iterable[FoundFiles]) -> FoundFiles:
    return FoundFiles(*(tuple(chain(*names)) for names in zip(FoundFiles(), *parts, strict=True)))


def _once(files: FoundFiles) -> FoundFiles:
    return FoundFiles(*(tuple(dict.fromkeys(names)) for names in files))


def _below(path: str) -> FoundFiles:
    """Returns the files in a folder by their paths; the path of a file counts as a photo's."""
    if not os.path.isdir(path):
        return FoundFiles((path,))
    files = find_files(path)
    return FoundFiles(*(tuple(_path(path, name) for name in names) for names in files))


def _path(folder: str, name: str) -> str:
    return os.path.join(folder, name).removesuffix("/.")  # the folder itself is "." in it
