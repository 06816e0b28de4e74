"""Names of classes that could be one name, misspelt."""

import re
from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations

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
    # Names meet where they have the same digits and, with up to two letters left out, are equal.
    pairs = set()
    for group in alike.values():
        meeting = defaultdict(list)
        for name in group if len(group) > 1 else ():
            for key in _shortened(plain[name]):
                meeting[key].append(name)
        pairs.update(pair for met in meeting.values() for pair in combinations(met, 2))
    order = {name: number for number, name in enumerate(names)}
    near = (pair for pair in pairs if _is_near(plain[pair[0]], plain[pair[1]]))
    return [
        f"{a} ~ {b}" for a, b in sorted(near, key=lambda pair: (order[pair[0]], order[pair[1]]))
    ]


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
