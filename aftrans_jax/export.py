"""Writes a trained trunk as an official npz: `python -m aftrans_jax.export --workdir=runs/cub`."""

import argparse
from pathlib import Path

from aftrans_jax.command import expand, one_line_errors
from aftrans_jax.experiment.trained import load_trained
from aftrans_jax.weights.npz import save_npz


def main() -> None:
    """Writes the trunk, which other ViT code reads, without SACM and the local branch's tokens."""
    parser = argparse.ArgumentParser(
        description="Writes the trunk of a trained model as an official npz."
    )
    parser.add_argument("--workdir", required=True, help="of a training run")
    parser.add_argument("--out", help="default: trunk.npz in the workdir")
    args = parser.parse_args()
    with one_line_errors():
        workdir = Path(expand(args.workdir))
        path = Path(expand(args.out)) if args.out else workdir / "trunk.npz"
        save_npz(path, load_trained(workdir).params["vit"])
        print(path)


if __name__ == "__main__":
    main()
