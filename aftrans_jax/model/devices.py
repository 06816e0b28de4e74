"""The device for which a model is traced, and what it can do."""

import re
from typing import Any, cast

import jax


def default_device() -> Any:
    """Returns the device of JAX on which computations run that are placed on no other.

    That is the one of `jax.default_device`, where it is set, else this process's first.
    """
    chosen = cast(Any, jax.config).jax_default_device  # a device, the name of a platform, or None
    return chosen if isinstance(chosen, jax.Device) else jax.local_devices(backend=chosen)[0]


def compute_capability(device: object) -> float | None:
    """Returns that of a JAX device, such as 8.0; None where it is no GPU of NVIDIA's."""
    found = str(getattr(device, "compute_capability", ""))
    return float(found) if re.fullmatch(r"\d+\.\d+", found) else None
