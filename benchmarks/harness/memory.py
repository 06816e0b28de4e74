"""The memory that a program needs, and the best that a device could do."""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from aftrans_jax.training.utilisation import peak_flops


def executable_bytes(compiled: jax.stages.Compiled) -> int:
    """Returns the most memory that a call holds, arguments included, by the compiler's account."""
    memory = compiled.memory_analysis()
    assert memory is not None  # a compiler without an account of its memory
    return (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )


def device_bytes(name: str) -> int | None:
    """Returns a figure of the first device's allocator, None where it keeps none.

    The "peak_bytes_in_use" is the process's: it never falls.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get(name)


def utilisation(flops: float, milliseconds: float, dtype: str) -> float | None:
    """Returns the fraction of the device's peak that work in a time reaches, None if not known."""
    peak = peak_flops(dtype)
    return None if peak is None else flops / (milliseconds / 1000) / peak


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether the device had too little memory, by the message: no error type says so."""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


def largest(fits: Callable[[int], bool], first: int, *, tolerance: float = 0.06) -> int:
    """Returns the largest number that fits, to within a fraction of it; 0 if even 1 does not.

    It grows the first guess by a quarter until one does not fit, or halves it until one does, and
    then bisects. Each trial is a compilation, so a good guess saves time.
    """
    good = 0
    bad = None
    trial = max(1, first)
    while bad is None or bad - good > max(1, tolerance * good):
        if fits(trial):
            good = trial
        else:
            bad = trial
        trial = good + max(1, good // 4) if bad is None else (good + bad) // 2
    return good


def bytes_per_image(known: Mapping[int, int]) -> int | None:
    """Returns the bytes for one more image, from the smallest and largest batch, if two."""
    low = min(known, default=0)
    high = max(known, default=0)
    return (known[high] - known[low]) // (high - low) if low < high else None


def status_bytes(name: str) -> int:
    """Returns a figure of this process: "VmRSS", its memory, or "VmHWM", the peak of that."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kibibytes = next(line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return 1024 * int(kibibytes)


def forget_peak() -> int:
    """Gives freed memory back to the system, resets "VmHWM", and returns "VmRSS".

    The memory of compilation is no part of a step; `ru_maxrss` cannot be reset.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status_bytes("VmRSS")
