"""Errors that keep a benchmark from a result."""


class LeftOutError(Exception):
    """Something that a benchmark needs is absent; the message says what, and the remedy."""


class LackingError(ImportError):
    """A process could not import something."""


class WorkerError(RuntimeError):
    """A function failed in its process, or the process ended early."""
