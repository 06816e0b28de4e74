"""Shows where a trained AFTrans looks: `python -m aftrans_jax.explain --workdir=runs/cub photos/`.

Writes one page. For each photo it has every layer's attention and gate, their relevance, the kept
patches, the box, the crop and what each head answers. Keep ratio, layers, selection and method can
be changed on it; selection, components and box follow.
"""

import argparse
import sys
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
)
from aftrans_jax.inference.options import add_options
from aftrans_jax.paths import expand
from aftrans_jax.photos import ARGUMENTS, find
from aftrans_jax.wording import printable

MAX_PHOTOS = 100


def main() -> None:
    """Writes the page and says where it is; exits 1 where a photo cannot be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", help=ARGUMENTS)
    parser.add_argument(
        "--workdir",
        type=nonempty_path,
        required=True,
        help="of a training run of AFTrans, or an exported model",
    )
    parser.add_argument(
        "--out",
        type=nonempty_path,
        default="explain.html",
        help="the page (.html); default: explain.html",
    )
    parser.add_argument(
        "--max_photos",
        type=int,
        default=MAX_PHOTOS,
        help=f"further ones are left out; default: {MAX_PHOTOS}",
    )
    add_options(parser)
    args = parser.parse_args()
    check_counts(parser, args, "max_photos", "batch_size")
    check_suffix(parser, "out", args.out, PAGES)
    with one_line_errors():
        paths, num_problems = find(args.images)
        chosen = paths[: args.max_photos]
        if len(chosen) < len(paths):
            say(
                f"note: the page has the first {len(chosen)} of {len(paths)} photos; "
                f"--max_photos={len(paths)} shows all"
            )
        # Not needed for --help, nor for errors in the arguments.
        from aftrans_jax.inference.explanation import explain
        from aftrans_jax.inference.trained_model import load_trained
        from aftrans_jax.workdir.contents import check_output

        workdir = Path(expand(args.workdir))
        out = Path(expand(args.out))
        check_output(out, f"--out={args.out}")
        keep_compiled()
        trained = load_trained(workdir, precision=args.precision)
        with tqdm(total=len(chosen), unit="photo", disable=None) as bar:  # on a terminal
            title = "/".join(workdir.resolve().parts[-2:])
            num_shown = explain(
                trained,
                chosen,
                out,
                title=title,
                batch_size=args.batch_size,
                fail=say,
                done=bar.update,
            )
        if not num_shown:
            parser.exit(1, "error: none of the photos can be read\n")
        page = printable(str(out.resolve()))
        size = out.stat().st_size / 1e6
        print(f"page: {page} ({num_shown} photo{'s' * (num_shown != 1)}, {size:.1f} MB)")
        if num_problems + len(chosen) - num_shown:
            sys.exit(1)


if __name__ == "__main__":
    main()
