"""Words of lines for people: names safe to print, numbers with nouns, the first few of many."""

from collections.abc import Sequence

_NUM_SHOWN = 3  # names in each message


def printable(text: str) -> str:
    """Returns a text with characters escaped that a terminal would obey, or could not show.

    These are control characters, marks of direction, and bytes of names that are not UTF-8.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun in the right form: "1 image", "2 classes"."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def first_few(names: Sequence[str]) -> str:
    """Returns the first three names, and "..." for the rest."""
    return ", ".join([*names[:_NUM_SHOWN], *["..."] * (len(names) > _NUM_SHOWN)])


def summary(what: str, names: Sequence[str], remedy: str = "") -> str:
    """Returns one line: a finding with the number of names, the first few, and a remedy."""
    end = "" if len(names) > _NUM_SHOWN else "."
    return f"{what} ({len(names)}): {printable(first_few(names))}{end}{remedy}"
