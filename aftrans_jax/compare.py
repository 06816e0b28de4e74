"""Sets finished runs side by side: `python -m aftrans_jax.compare runs/a runs/b`.

Says what was changed between them and how accurate each is, with the paired difference to the
first and its 95 % interval, and writes table.md, table.csv and table.html: plots, training curves,
and the test images that one names right and another wrong. Runs that differ in their seeds alone
share a row.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from aftrans_jax.command import nonempty_path, one_line_errors
from aftrans_jax.files import make_folder
from aftrans_jax.model.heads import HEADS
from aftrans_jax.paths import expand


def main() -> None:
    """Prints the table and what was changed, and writes the page; exits 1 on a failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="directories of finished runs, the base first")
    parser.add_argument(
        "--workdir",
        type=nonempty_path,
        default="comparison",
        help="where the table goes; default: comparison",
    )
    parser.add_argument(
        "--logits",
        choices=HEADS,
        action="append",
        default=[],
        help="to judge by, also several times; default: eval.logits of each run",
    )
    args = parser.parse_args()
    with one_line_errors():
        os.environ["JAX_PLATFORMS"] = "cpu"  # no device is needed
        from aftrans_jax.studies.comparison import changed, rows_between
        from aftrans_jax.studies.table_files import write_table

        rows = rows_between([Path(expand(path)) for path in args.runs], args.logits)
        workdir = Path(expand(args.workdir))
        make_folder(workdir)
        command = shlex.join(["python", "-m", "aftrans_jax.compare", *sys.argv[1:]])
        num_runs = len({run.workdir for row in rows for run in row.runs})
        title = f"Comparison of {num_runs} runs"
        write_table(workdir, title, rows, rows[0], command, changed(rows))
        print((workdir / "table.md").read_text(encoding="utf-8"))
        print(f"page: {(workdir / 'table.html').resolve()}")


if __name__ == "__main__":
    main()
