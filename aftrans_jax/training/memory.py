"""Where a device's memory does not suffice: an error that says what needs less."""

import contextlib
from collections.abc import Iterator

_SIGN = "RESOURCE_EXHAUSTED"


@contextlib.contextmanager
def needing_less(remedy: str) -> Iterator[None]:
    """Names a remedy where what is computed within fills a device; that of the innermost block.

    Args:
      remedy: what needs less memory, such as "lower eval.batch_size".

    Raises:
      RuntimeError: a device's memory was full.
    """
    try:
        yield
    except Exception as error:
        if _SIGN not in str(error):
            raise
        details = str(error).replace(f"{_SIGN}: ", "").replace(_SIGN, "")
        raise RuntimeError(f"the device's memory is full: {remedy} ({details})") from error
