"""The flags that the benchmarks of the model share, and the JSON that they write."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aftrans_jax.config import Config, base_config
from aftrans_jax.model.attention import (
    KERNELS,
    automatic_kernel,
    check_kernel,
    current_backend,
)
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.precision import PRECISIONS
from aftrans_jax.training.reporting import write_json
from benchmarks.record import circumstances


def add_settings(parser: argparse.ArgumentParser, *, batch: str) -> None:
    """Adds the flags that say what is measured, how often, and where to."""
    parser.add_argument("--variant", choices=tuple(VARIANTS), default="b16")
    parser.add_argument("--image-size", type=int, default=448, help="global branch, pixels")
    parser.add_argument("--local-size", type=int, help="local branch; half the image by default")
    parser.add_argument("--stride", type=int, default=12, help="between patches, pixels")
    parser.add_argument("--batch", default=batch, help="batch sizes, separated by commas")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="auto")
    parser.add_argument("--attention", choices=tuple(KERNELS), default="auto")
    parser.add_argument("--steps", type=int, default=20, help="calls that are timed, at least 2")
    parser.add_argument("--warmup", type=int, default=3, help="calls before them")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")


def settings(args: argparse.Namespace) -> tuple[Config, dict[str, Any]]:
    """Returns the configuration that the flags describe, and what to record of it."""
    config = base_config()
    config.model.variant, config.model.stride = args.variant, args.stride
    config.model.attention, config.train.precision = args.attention, args.precision
    config.data.image_size = args.image_size
    config.data.local_size = args.local_size or args.image_size // 2
    dtype, backend = PRECISIONS[args.precision]().dtype, current_backend()
    check_kernel(args.attention, dtype, backend)
    kernel = automatic_kernel(dtype, backend) if args.attention == "auto" else args.attention
    return config, {
        "variant": args.variant,
        "image_size": config.data.image_size,
        "local_size": config.data.local_size,
        "stride": args.stride,
        "dtype": dtype.name,
        "attention": kernel,
        "num_calls": args.steps,
        "num_warm_up": args.warmup,
    }


def batch_sizes(args: argparse.Namespace) -> list[int]:
    """Returns the batch sizes asked for, the smallest first."""
    return sorted(int(size) for size in args.batch.split(","))


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Writes results with the circumstances that they were measured in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**content, **circumstances()})
