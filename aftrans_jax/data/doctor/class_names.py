"""Names of classes that could be one name, misspelt."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import combinations

import numpy as np

_MOST_KEYS = 2_000_000  # held at a time: 60 MB
_SHORTEST = {1: 4, 2: 7}  # letters that differ -> length of names that should not by chance


def near_names(names: Sequence[str]) -> list[str]:
    """Returns the pairs of names that differ in one or two letters, in case or in separators.

    Digits count as different: "S4" and "S5" are two models. Short names may differ in letters.

    Args:
      names: each once.
    """
    plain = {name: _plain(name) for name in names}
    alike = defaultdict(list)
    for name in names:
        alike[re.sub(r"\D", "", plain[name])].append(name)
    order = {name: number for number, name in enumerate(names)}
    near = {
        pair
        for group in alike.values()
        for pair in set(_meeting(group, [plain[name] for name in group]))
        if _is_near(plain[pair[0]], plain[pair[1]])
    }
    return [
        f"{a} ~ {b}" for a, b in sorted(near, key=lambda pair: (order[pair[0]], order[pair[1]]))
    ]


def _meeting(names: Sequence[str], plain: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields pairs of names that are equal with up to two letters left out, some several times.

    A name of 60 letters has 1,831 such keys, so of each its hash is kept, and of many a share at a
    time.
    """
    number = sum(1 + len(name) * (len(name) + 1) // 2 for name in plain) if len(names) > 1 else 0
    for turn in range(rounds := -(-number // _MOST_KEYS)):
        keys = []
        for name in plain:
            own = np.fromiter(map(hash, _shortened(name)), np.int64)
            keys.append(own[own % rounds == turn])
        owners = np.repeat(np.arange(len(names), dtype=np.int32), list(map(len, keys)))
        hashes = np.concatenate(keys)
        order = np.argsort(hashes, kind="stable")
        hashes, owners = hashes[order], owners[order]
        same = np.zeros(len(hashes), bool)  # as the next one
        same[:-1] = hashes[1:] == hashes[:-1]
        several = same | np.roll(same, 1)
        ends = np.flatnonzero(~same[several]) + 1
        for met in np.split(owners[several], ends):
            yield from combinations([names[int(owner)] for owner in met], 2)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _shortened(name: str) -> set[str]:
    length = len(name)
    keys = {name}
    if length >= _SHORTEST[1] - 1:
        keys.update(name[:i] + name[i + 1 :] for i in range(length))
    if length >= _SHORTEST[2] - 2:
        places = combinations(range(length), 2)
        keys.update(name[:i] + name[i + 1 : j] + name[j + 1 :] for i, j in places)
    return keys


def _is_near(one: str, other: str) -> bool:
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    edits = [edit for edit in matcher.get_opcodes() if edit[0] != "equal"]
    changed = "".join(one[a:b] + other[c:d] for _, a, b, c, d in edits)
    number = sum(max(b - a, d - c) for _, a, b, c, d in edits)
    if number == 2 and sorted(one) == sorted(other):
        number = 1  # two letters have changed places
    if number > 2 or any(char.isdigit() for char in changed):
        return False
    return number == 0 or min(len(one), len(other)) >= _SHORTEST[number]
