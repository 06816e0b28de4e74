"""The numbers of the checkpoints in a directory, found without JAX or Orbax."""

from pathlib import Path


def checkpoint_numbers(directory: Path) -> list[int]:
    """Returns the numbers of the checkpoints below a directory, ascending; it may be absent."""
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
