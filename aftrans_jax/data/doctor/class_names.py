"""Class names that may be misspellings of one another."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

_NUM_COUNTS = 32  # counters of letters in a name: one for each of a to z and space, others share
_SHORTEST = {1: 4, 2: 7}  # letters that differ -> length from which that is unlikely by chance


def near_names(names: Sequence[str]) -> list[str]:
    """Returns the pairs of names that differ in one or two letters, in case or in separators.

    Digits count as different: "S4" and "S5" are two models. So do letters of short names.

    Args:
      names: names of the classes, each once.
    """
    plain = [_plain(name) for name in names]
    counts = np.zeros((_NUM_COUNTS, len(names)), np.int16)
    for i, text in enumerate(plain):
        np.add.at(counts[:, i], [ord(letter) % _NUM_COUNTS for letter in text], 1)
    # A wrong letter adds one to its own count and takes one from another's.
    most = 2 * np.searchsorted(list(_SHORTEST.values()), list(map(len, plain)), "right")
    _, digits = np.unique([re.sub(r"\D", "", text) for text in plain], return_inverse=True)
    near = []
    for i, name in enumerate(names):
        rest = slice(i + 1, None)
        differing = np.abs(counts[:, rest] - counts[:, i, None]).sum(axis=0, dtype=np.int16)
        few = (differing <= np.minimum(most[rest], most[i])) & (digits[rest] == digits[i])
        others = (np.flatnonzero(few) + i + 1).tolist()
        near += [f"{name} ~ {names[j]}" for j in others if _is_near(plain[i], plain[j])]
    return near


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _is_near(one: str, other: str) -> bool:
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    edits = [edit for edit in matcher.get_opcodes() if edit[0] != "equal"]
    changed = "".join(one[a:b] + other[c:d] for _, a, b, c, d in edits)
    number = sum(max(b - a, d - c) for _, a, b, c, d in edits)
    if number == 2 and sorted(one) == sorted(other):
        number = 1  # two letters are swapped
    if number > 2 or any(char.isdigit() for char in changed):
        return False
    return number == 0 or min(len(one), len(other)) >= _SHORTEST[number]
