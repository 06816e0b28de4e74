"""Hides what orbax prints of an error that it also raises: hundreds of threads' tracebacks."""

import functools
import logging
import sys
from pathlib import Path
from typing import Any

from absl import logging as absl_logging


@functools.cache
def quiet_orbax() -> None:
    """Hides these messages from now on; all others are shown as before."""
    absl_logging.get_absl_logger().addFilter(_is_not_orbax)
    show = sys.unraisablehook

    def show_others(unraisable: Any) -> None:
        # After one failed read or write orbax closes the loop that its other tasks still report to.
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            show(unraisable)

    sys.unraisablehook = show_others


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts
