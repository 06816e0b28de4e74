"""Names images with a trained model: `python -m aftrans_jax.predict --workdir=runs/cub photos/`.

Prints a line `path<TAB>probability<TAB>class` for each of the likeliest classes of each image, in
the order in which the images were given. An image that cannot be read is a line on standard error.
"""

import argparse
import collections
import glob
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aftrans_jax.command import expand, one_line_errors
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.decode import decode_image
from aftrans_jax.data.loading.names import printable
from aftrans_jax.data.loading.transforms import test_transform
from aftrans_jax.data.sets.files import find_images
from aftrans_jax.experiment.prediction import Predictor, heading, predictor
from aftrans_jax.experiment.trained import Trained, load_trained

BATCH_SIZE = 16
_NUM_THREADS = 8
_NO_BOX = np.full(4, np.nan, np.float32)


def main() -> None:
    """Prints the likeliest classes by the logits that the run reports; exits 1 on a failure."""
    parser = argparse.ArgumentParser(description="Names images with a trained model.")
    parser.add_argument(
        "images",
        nargs="+",
        help="image files, folders (all photos below), quoted globs such as 'photos/**/*.jpg', or "
        "- for a list of files and folders on standard input, one a line",
    )
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument(
        "--logits", choices=("global", "local", "sum"), help="default: eval.logits of the run"
    )
    args = parser.parse_args()
    if args.top < 1:
        parser.error(f"--top={args.top}: expected 1 or more")
    with one_line_errors():
        paths, problems = find(args.images)
        for problem in problems:
            _say(f"error: {problem}")
        if not paths:
            parser.exit(1, "error: there is nothing to name\n")
        trained = load_trained(Path(expand(args.workdir)))
        logits = args.logits or trained.predict_from
        predict = predictor(trained, logits)
        _say(heading(trained, logits))
        if len(problems) + _print_all(paths, trained, predict, args.top):
            sys.exit(1)


def find(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the paths of the images that arguments mean, each once, and a line for each problem.

    Args:
      given: files, folders, globs, or "-" for lines of standard input.
    """
    paths: dict[str, str] = {}
    problems, repeated = [], 0
    for argument in given:
        try:
            found = _images(argument)
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        if not found:
            problems.append(f"{argument!r} holds or matches no images")
        for path in found:
            place = os.path.abspath(path)
            repeated += place in paths
            paths.setdefault(place, path)
    if repeated:
        _say(
            f"note: {repeated} images were given more than once; each is named once, in its first "
            "place"
        )
    return list(paths.values()), problems


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


def stream(
    paths: Sequence[str], sizes: Mapping[str, int], max_pixels: int
) -> Iterator[tuple[str, np.ndarray | Exception]]:
    """Yields each path with its image as the model takes it, or with why it cannot be read.

    Threads decode two batches ahead, so that memory does not grow with the number of images.

    Args:
      paths: of image files.
      sizes: `image_size` and `resize_size` in pixels.
      max_pixels: an image of more is not read.
    """

    def load(path: str) -> np.ndarray | Exception:
        try:
            pixels = decode_image(path, max_pixels=max_pixels, resize_size=sizes["resize_size"])
            return test_transform(Example(pixels, 0, _NO_BOX), **sizes).image
        except (OSError, ValueError, MemoryError) as error:
            return error

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        ahead = collections.deque()
        for path in paths:
            ahead.append((path, pool.submit(load, path)))
            if len(ahead) > 2 * BATCH_SIZE:
                first, image = ahead.popleft()
                yield first, image.result()
        while ahead:
            first, image = ahead.popleft()
            yield first, image.result()


def _print_all(paths: Sequence[str], trained: Trained, predict: Predictor, top: int) -> int:
    """Prints the classes of all images; returns how many of the images could not be read."""
    size = min(BATCH_SIZE, len(paths))  # every batch has it, so that one program is compiled
    side, num_failed = trained.sizes["image_size"], 0
    images = stream(paths, trained.sizes, trained.max_pixels)
    with tqdm(total=len(paths), unit="image", disable=None) as bar:  # None: shown on a terminal
        while chunk := list(itertools.islice(images, size)):
            batch = np.zeros((size, side, side, 3), np.uint8)
            for row, (_, image) in zip(batch, chunk, strict=False):
                if not isinstance(image, Exception):
                    row[:] = image
            for (path, image), shares in zip(chunk, predict(batch), strict=False):
                if isinstance(image, Exception):
                    num_failed += 1
                    _say(f"error: {str(image) or f'{path!r}: {type(image).__name__}'}")
                    continue
                for label in np.argsort(-shares, kind="stable")[:top]:
                    fields = (
                        printable(path),
                        f"{shares[label]:.1%}",
                        printable(trained.class_names[label]),
                    )
                    _write("\t".join(fields), sys.stdout)
            sys.stdout.flush()
            bar.update(len(chunk))
    return num_failed


def _say(line: str) -> None:
    """Writes a line to standard error, above the bar where there is one."""
    _write(printable(line), sys.stderr)


def _write(line: str, file: Any) -> None:
    encoding = file.encoding or "utf-8"  # may lack characters that names have
    tqdm.write(line.encode(encoding, "backslashreplace").decode(encoding), file=file)


if __name__ == "__main__":
    main()
