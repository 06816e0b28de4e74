"""Names images with a trained model: `python -m aftrans_jax.predict --workdir=runs/cub photos/`.

Prints a line `path<TAB>probability<TAB>class` for each of the likeliest classes of each image, in
the order in which the images were given. An image that cannot be read is a line on standard error.
With --out or --report a table or a page is written in the place of these lines.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from aftrans_jax.cache import keep_compiled
from aftrans_jax.command import (
    PAGES,
    check_counts,
    check_suffix,
    nonempty_path,
    one_line_errors,
    say,
    show,
)
from aftrans_jax.inference.options import add_options, filled
from aftrans_jax.model.heads import HEADS
from aftrans_jax.paths import expand
from aftrans_jax.photos import ARGUMENTS, find
from aftrans_jax.wording import counted, printable

TABLES = (".csv", ".jsonl")


def main() -> None:
    """Classifies images by the logits that the run reports; exits 1 on a failure."""
    parser = argparse.ArgumentParser(description="Names images with a trained model.")
    parser.add_argument("images", nargs="+", help=ARGUMENTS)
    parser.add_argument(
        "--workdir",
        type=nonempty_path,
        required=True,
        help="of a training run, or an exported model",
    )
    parser.add_argument("--top", type=int, default=5, help="how many classes to print")
    parser.add_argument("--logits", choices=HEADS, help="default: eval.logits of the run")
    parser.add_argument(
        "--out",
        type=nonempty_path,
        help=f"a table ({' or '.join(TABLES)}) with a row for each image: answers of all heads, "
        "probabilities, and the box in pixels of the image",
    )
    parser.add_argument(
        "--report",
        type=nonempty_path,
        help="a page (.html) with box, heat map and crop of the first images",
    )
    add_options(parser)
    args = parser.parse_args()
    check_counts(parser, args, "top", "batch_size")
    for name, suffixes in (("out", TABLES), ("report", PAGES)):
        if path := getattr(args, name):
            check_suffix(parser, name, path, suffixes)
    with one_line_errors():
        paths, num_problems = find(args.images)
        if num_problems + _name(paths, args):
            sys.exit(1)


def _name(paths: Sequence[str], args: argparse.Namespace) -> int:
    """Prints or writes the predictions; returns how many images could not be read."""
    # Not needed for --help, nor for errors in the arguments.
    from aftrans_jax.inference.classifier import Classifier
    from aftrans_jax.inference.prediction import heading
    from aftrans_jax.inference.prediction_page import PredictionPage
    from aftrans_jax.inference.prediction_table import prediction_table
    from aftrans_jax.inference.preprocessing import why_unread
    from aftrans_jax.inference.trained_model import check_head, load_trained
    from aftrans_jax.workdir.contents import check_output

    for option in ("out", "report"):
        if path := getattr(args, option):
            check_output(Path(expand(path)), f"--{option}={path}")
    keep_compiled()
    trained = load_trained(Path(expand(args.workdir)), precision=args.precision)
    if args.logits:
        check_head(trained, args.logits)
    model = Classifier(
        trained,
        head=args.logits,
        batch_size=filled(len(paths), args.batch_size),
        wanted=("box", "relevance") if args.report else ("box",) if args.out else (),
    )
    accuracy = heading(trained, model.head)
    say(accuracy)
    num_failed = 0
    top = min(args.top, len(model.class_names))
    table = contextlib.nullcontext()
    if args.out:
        table = prediction_table(Path(expand(args.out)), heads=model.heads, top=top)
    page = PredictionPage(top=top) if args.report else None
    # None: only shown on a terminal.
    with table as add_row, tqdm(total=len(paths), unit="image", disable=None) as bar:
        for path, prediction, image in model.photo_predictions(paths):
            path = str(path)
            if isinstance(prediction, Exception):
                num_failed += 1
                say(f"error: {why_unread(path, prediction)}")
            elif not (add_row or page):
                _print(path, prediction.top(top))
            if add_row:
                add_row(path, prediction)
            if page:
                page.add(path, prediction, image)
            bar.update()
    if args.out:
        print(f"table of {counted(len(paths), 'image')}: {printable(expand(args.out))}")
    if page:
        page.write(Path(expand(args.report)), accuracy, has_table=bool(args.out))
        print(f"page of {counted(len(paths), 'image')}: {printable(expand(args.report))}")
    return num_failed


def _print(path: str, answers: Sequence[tuple[str, float]]) -> None:
    for name, probability in answers:
        show("\t".join((printable(path), f"{probability:.1%}", printable(name))))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
