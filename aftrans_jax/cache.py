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
