"""A few items ahead, by several threads: decoding and hashing release the interpreter's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, num_threads: int, ahead: int
) -> Iterator[_Result]:
    """Yields the result for each item, in their order; what a call raises is raised in its place.

    Memory does not grow with the number of items. Who stops early, by an error or by closing the
    iterator, waits for the calls that have begun, and for no others.

    Args:
      function: called in several threads.
      items: taken one after the other by the caller's thread, as they are needed.
      num_threads: calls at the same time, at least 1.
      ahead: how many items may be under way while a result is looked at.
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
