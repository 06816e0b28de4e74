"""The folders for downloads and compiled programs between runs."""

import contextlib
import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Returns `AFTRANS_CACHE`, or `aftrans_jax` in the user's cache; None without a home."""
    if given := os.environ.get("AFTRANS_CACHE"):
        return Path(os.path.expanduser(given))
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home directory, as in some containers, there is no place for one.
    return None if caches.startswith("~") else Path(caches, "aftrans_jax")


def keep_compiled() -> None:
    """Makes JAX keep compiled programs, so that the next start, or a resumed run, is faster.

    They go to `JAX_COMPILATION_CACHE_DIR`, nowhere if that is empty, and by default to the cache,
    if it can be written.
    """
    import jax  # not needed for downloads

    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None and (own := cache_folder()):
        with contextlib.suppress(OSError):  # such as a read-only home
            own.mkdir(parents=True, exist_ok=True)
        folder = str(own) if os.access(own, os.W_OK | os.X_OK) else None
    jax.config.update("jax_compilation_cache_dir", folder or None)
