"""The devices that a model is for: where it computes, and what that device can do."""

import re
from typing import Any, cast

import jax


def local_devices() -> list[Any]:
    """Returns this process's devices, or the one alone that `jax.default_device` is set to."""
    chosen = cast(Any, jax.config).jax_default_device  # a device, the name of a platform, or None
    return [chosen] if isinstance(chosen, jax.Device) else jax.local_devices(backend=chosen)


def default_device() -> Any:
    """Returns the device of JAX on which computations run that are placed on no other.

    That is the one of `jax.default_device`, where it is set, else this process's first.
    """
    return local_devices()[0]


def compute_capability(device: object) -> float | None:
    """Returns that of a JAX device, such as 8.0; None where it is no GPU of NVIDIA's."""
    found = str(getattr(device, "compute_capability", ""))
    return float(found) if re.fullmatch(r"\d+\.\d+", found) else None
