"""Errors for a device's full memory, which say what needs less."""

import contextlib
from collections.abc import Iterator

_SIGN = "RESOURCE_EXHAUSTED"


@contextlib.contextmanager
def oom_remedy(remedy: str) -> Iterator[None]:
    """Adds a remedy to the error where a block fills a device's memory; the innermost block's.

    Args:
      remedy: what needs less memory, such as "lower eval.batch_size".

    Raises:
      RuntimeError: a device's memory was full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or _SIGN not in str(error):  # absl says it of full disks
            raise
        details = str(error).replace(f"{_SIGN}: ", "").replace(_SIGN, "")
        raise RuntimeError(f"the device's memory is full: {remedy} ({details})") from error
