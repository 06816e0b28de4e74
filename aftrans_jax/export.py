"""Writes a trained trunk as an official npz: `python -m aftrans_jax.export --workdir=runs/cub`."""

import argparse
from pathlib import Path

from aftrans_jax.experiment.trained import load_trained
from aftrans_jax.weights.npz import save_npz


def main() -> None:
    """Writes the trunk, which other ViT code reads, without SACM and the local branch's tokens."""
    parser = argparse.ArgumentParser(
        description="Writes the trunk of a trained model as an official npz."
    )
    parser.add_argument("--workdir", required=True, type=Path, help="of a training run")
    parser.add_argument("--out", type=Path, help="default: trunk.npz in the workdir")
    args = parser.parse_args()
    workdir, path = args.workdir.expanduser(), args.out and args.out.expanduser()
    try:
        path = path or workdir / "trunk.npz"
        save_npz(path, load_trained(workdir).params["vit"])
    except (OSError, ValueError, RuntimeError) as error:  # the last: JAX has no device or memory
        parser.exit(1, f"error: {error}\n")
    print(path)


if __name__ == "__main__":
    main()
