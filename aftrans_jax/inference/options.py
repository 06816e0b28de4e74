"""Flags for how a trained model computes; imports no jax, so that flags are parsed at once."""

import argparse

BATCH_SIZE = 16
PRECISIONS = ("float32", "bfloat16")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the commands that load a trained model."""
    parser.add_argument(
        "--batch_size",
        type=int,
        default=BATCH_SIZE,
        help=f"photos that the devices take at a time, together; default: {BATCH_SIZE}",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help=f"of the computation; default: {PRECISIONS[0]}. bfloat16 is for GPUs from Ampere on, "
        "and rounds answers",
    )


def filled(num_photos: int, batch_size: int) -> int:
    """Returns the batch size for a number of photos: the given one or, for few, a power of two.

    So there are few sizes to compile a program for.
    """
    return min(batch_size, 1 << (num_photos - 1).bit_length())
