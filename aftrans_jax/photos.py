"""Which photos the arguments of a command mean: files, folders, globs, lists."""

import glob
import os
import sys
from collections.abc import Sequence

from aftrans_jax.command import expand, say
from aftrans_jax.data.sets.files import find_images

ARGUMENTS = (
    "image files, folders (all photos below), quoted globs such as 'photos/**/*.jpg', or "
    "- for a list of files and folders on standard input, one a line"
)


def find(given: Sequence[str]) -> tuple[list[str], int]:
    """Returns the paths of the images that arguments mean, each once, and how many mean none.

    These are said, a line each.

    Args:
      given: files, folders, globs, or "-" for lines of standard input.

    Raises:
      ValueError: no argument means an image.
    """
    paths: dict[str, str] = {}
    num_problems = repeated = 0
    for argument in given:
        try:
            found = _images(argument)
        except (OSError, ValueError) as error:
            found, problem = [], str(error)
        else:
            problem = "" if found else f"{argument!r} holds or matches no images"
        if problem:
            say(f"error: {problem}")
            num_problems += 1
        for path in found:
            place = os.path.abspath(path)
            repeated += place in paths
            paths.setdefault(place, path)
    if repeated:
        say(
            f"note: {repeated} images were given more than once; each is named once, in its first "
            "place"
        )
    if not paths:
        raise ValueError("there are no images: expected files, folders, globs or a list of them")
    return list(paths.values()), num_problems


def _images(argument: str) -> list[str]:
    """Returns the images that one argument means, sorted where it does not list them."""
    if argument == "-":
        lines = [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer]
        return [path for line in lines if line for path in _below(line)]
    argument = argument if os.path.lexists(argument) else expand(argument)
    if os.path.lexists(argument) or not any(char in argument for char in "*?["):
        return _below(argument)
    matches = sorted(glob.glob(argument, recursive=True))
    return list(dict.fromkeys(path for match in matches for path in _below(match)))


def _below(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(path, name) for name in find_images(path)]
