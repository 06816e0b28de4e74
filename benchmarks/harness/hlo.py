"""The loops of a compiled program and what devices exchange in it, parsed from its text."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_KINDS = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "ragged-all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
)
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(_KINDS)})(-start)?\((.*)")
# Ends at a brace on a line of its own, since strings within instructions have lines too.
_COMPUTATION = re.compile(
    r"^(?:ENTRY )?%?([\w.\-]+) \([^\n]*\{\n(.*?)^\}(?:, execution_thread=[^\n]*)?$", re.M | re.S
)
# On TPUs an exchange that overlaps other work is repeated in the fusion that starts it, in each
# that continues it and in the last. A fusion is called where it stands.
_GOES_ON = re.compile(
    r"%async-collective-done[\w.]* = .*calls=%([\w.\-]+)|%(async_collective_fusion[\w.]*) \("
)
_GROUP = re.compile(r"replica_groups=(?:\{\{([\d,]+)\}|\[\d+,(\d+)\]<=)")
_LOOP = re.compile(r" while\(.*?condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """An instruction by which devices exchange arrays.

    kind: kind of the exchange, such as "all-reduce".
    sizes: elements of each array that a device receives, and sends where it is started.
    num_bytes: bytes of the unsharded arrays: results of an all-gather, inputs of a reduce-scatter.
    in_loop: whether a while loop repeats it.
    """

    kind: str
    sizes: tuple[int, ...]
    num_bytes: int
    in_loop: bool


def num_loops(hlo: str) -> int:
    """Returns how many while loops a program has."""
    return len(_LOOP.findall(hlo))


def collectives(hlo: str) -> list[Collective]:
    """Returns the exchanges between devices in a program.

    Args:
      hlo: `as_text()` of a compiled function.

    Raises:
      ValueError: some of the text could not be read.
    """
    blocks: dict[str, str] = dict(_COMPUTATION.findall(hlo))
    inside = _called((name for loop in _LOOP.findall(hlo) for name in loop), blocks)
    lines = {name: _COLLECTIVE.findall(text) for name, text in blocks.items()}
    num_written = len(_COLLECTIVE.findall(hlo))
    num_read = sum(map(len, lines.values()))
    if num_read != num_written or inside - blocks.keys():
        raise ValueError(
            f"{num_read} of {num_written} collectives lie in computations that could be read, "
            f"and of the loops' computations {sorted(inside - blocks.keys())} could not: expected "
            "all of them. Adapt benchmarks/harness/hlo.py to how this XLA prints programs"
        )
    counted = {done or fused for done, fused in _GOES_ON.findall(hlo)}
    return [
        _collective(*line, in_loop=name in inside)
        for name, found in lines.items()
        if name not in counted
        for line in found
    ]


def _called(names: Iterable[str], blocks: Mapping[str, str]) -> set[str]:
    """Returns the computations and all that they call, directly or not."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            mentioned = re.findall(r"%([\w.\-]+)", blocks.get(name, ""))
            pending += [other for other in mentioned if other in blocks]
    return found


def _collective(result: str, kind: str, start: str, rest: str, *, in_loop: bool) -> Collective:
    arrays = [(dtype, _size(shape)) for dtype, shape in _ARRAY.findall(result)]
    num_bytes = sum(-(-size * _bits(dtype) // 8) for dtype, size in arrays)
    if (group := _GROUP.search(rest)) and kind in {"all-gather", "reduce-scatter"}:
        among = int(group[2] or len(group[1].split(",")))
        if start:  # shards and unsharded arrays
            num_bytes = num_bytes * among // (among + 1)
        elif kind == "reduce-scatter":
            num_bytes *= among
    return Collective(kind, tuple(size for _, size in arrays), num_bytes, in_loop)


def _size(shape: str) -> int:
    return math.prod(int(side) for side in shape.split(",") if side)


def _bits(dtype: str) -> int:
    """Returns the bits of an element: the first number in names such as f32, bf16, s8, f8e4m3."""
    digits = re.search(r"\d+", dtype)
    return int(digits[0]) if digits else 8  # pred
