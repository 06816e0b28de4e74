"""Reads .mat files in a process of its own, since scipy's reader can crash on damaged ones.

A program without arguments: for each line of JSON on standard input, [path, name of a struct or "",
columns], it prints a line of JSON: the columns by name, or an error as a string.
"""

import json
import sys

import numpy as np
import scipy.io


def main() -> None:
    """Answers requests until standard input ends."""
    for line in sys.stdin:
        path, struct, columns = json.loads(line)
        try:
            answer = _read(path, struct, columns)
        except Exception as error:  # scipy and zlib raise a dozen kinds on damaged files
            answer = repr(error)
        print(json.dumps(answer, default=lambda value: [repr(value)]), flush=True)


def _read(path: str, struct: str, columns: list[str]) -> dict[str, list[object]]:
    content = scipy.io.loadmat(path, variable_names=[struct] if struct else columns)
    table = content.get(struct, np.empty(0)) if struct else content
    present = table.keys() if isinstance(table, dict) else table.dtype.names or ()
    return {name: _elements(np.ravel(table[name])) for name in columns if name in present}


def _elements(column: np.ndarray) -> list[object]:
    """Returns each cell's content as a Python object, a list where it is not a single one."""
    arrays = map(np.asarray, column)
    return [array.item() if array.size == 1 else array.tolist() for array in arrays]


if __name__ == "__main__":
    main()
