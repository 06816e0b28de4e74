"""Where downloads and compiled programs are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Returns `AFTRANS_CACHE`, or `aftrans_jax` in the user's cache; None without a home."""
    if given := os.environ.get("AFTRANS_CACHE"):
        return Path(os.path.expanduser(given))
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # Without a home directory, as in some containers, there is no place for them.
    return None if caches.startswith("~") else Path(caches, "aftrans_jax")


def keep_compiled() -> None:
    """Has JAX keep what it compiles, so that the next start, or a resumed run, need not.

    That is in `JAX_COMPILATION_CACHE_DIR`, nowhere where that is empty, by default in the cache.
    """
    import jax  # which no download needs

    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = cache_folder() if given is None else given
    jax.config.update("jax_compilation_cache_dir", str(folder) if folder else None)
