"""Works a few items ahead in several threads: decoding and hashing release Python's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, num_threads: int, ahead: int
) -> Iterator[_Result]:
    """Yields the result for each item, in order; an exception in a call is raised in its place.

    Memory does not grow with the number of items. Stopping early, by an error or by closing the
    iterator, waits for the calls that have begun, and for no others.

    Args:
      function: function of an item, called in several threads.
      items: items, which the caller's thread takes one by one as they are needed.
      num_threads: number of calls at the same time, at least 1.
      ahead: number of items that may be in progress while the caller handles a result.
    """
    pool = ThreadPoolExecutor(num_threads)
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
