"""Reads the data in a pickle without unpickling it: nothing is imported or called by its names.

`pickletools` splits a pickle into its operations; those that build plain data are done here,
on values of this module. The name of a module's function is looked up in a table, or refused.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

_MAX_NAME = 200  # characters of a name, or of the part of one that is shown
_MAX_ARGUMENTS = 16  # _rebuild_tensor_v2 takes 7

_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES")
_PUSHED = frozenset((*_NUMBERS, *_TEXTS))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SKIPPED = ("PROTO", "FRAME", "STOP")


class NamedFunction:
    """A function named in the data; `make` is its entry in the table."""

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name = name
        self.make = make


def read_pickle(
    data: bytes, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]
) -> Any:
    """Returns the data of a pickle: dicts, lists, tuples, texts, numbers, and what `known` makes.

    Args:
      data: the pickle.
      known: functions by "module name", called with the pickle's arguments, which they must check.
      persistent: returns the object of a persistent id, which it must check.

    Raises:
      ValueError: the pickle asks for another name or operation, or is damaged.
    """
    machine = _Machine(known, persistent)
    try:
        for operation, argument, _ in pickletools.genops(data):
            machine.do(operation.name, argument)
        (result,) = machine.stack
    except _RefusedError:
        raise
    except Exception as error:  # such as an operation without its operands, or a truncated pickle
        reason = str(error)[:200] if isinstance(error, ValueError) else type(error).__name__
        raise ValueError(f"its pickle is damaged ({reason}): download the file again") from error
    return result


class _RefusedError(ValueError):
    """The pickle asks for something that is not supported here."""


class _Machine:
    """The stack and memo that a pickle's operations work on."""

    def __init__(
        self, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]
    ) -> None:
        self.known = known
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []  # positions in the stack
        self.memo: dict[int, Any] = {}

    def do(self, name: str, argument: Any) -> None:
        """Does one operation.

        Raises:
          ValueError: it is not one of plain data.
        """
        stack = self.stack
        if name in _PUSHED:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = argument.split(" ") if name == "GLOBAL" else self._popped(2)
            stack.append(self._named(*parts))
        elif name in _OPERATIONS:
            _OPERATIONS[name](self)
        elif name not in _SKIPPED:
            raise _RefusedError(
                f"its pickle has the operation {name}, which no state dict needs: expected "
                "torch.save(model.state_dict(), 'x.pth')"
            )

    def _named(self, module: Any, name: Any) -> NamedFunction:
        # Formatting nested tuples would take a time that doubles with each level.
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError
        full = f"{module} {name}"
        if full not in self.known:
            shown = f"{module[:_MAX_NAME]}.{name[:_MAX_NAME]}"
            raise _RefusedError(
                f"its pickle asks for {shown}, which may run any code and is not called: "
                "expected a state dict, as of torch.save(model.state_dict(), 'x.pth'), or a "
                "safetensors file"
            )
        return NamedFunction(full, self.known[full])

    def _popped(self, count: int) -> list[Any]:
        at = len(self.stack) - count
        if at < (self.marks[-1] if self.marks else 0):
            raise IndexError
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def _marked(self) -> list[Any]:
        at = self.marks[-1]
        values = self._popped(len(self.stack) - at)
        self.marks.pop()
        return values

    def _tuple(self, count: int) -> None:
        self.stack.append(tuple(self._popped(count)))

    def _call(self) -> None:
        named, arguments = self._popped(2)
        if not isinstance(named, NamedFunction) or not isinstance(arguments, tuple):
            raise TypeError
        if len(arguments) > _MAX_ARGUMENTS:  # each call copies them
            raise TypeError
        self.stack.append(named.make(*arguments))

    def _build(self) -> None:  # sets attributes of an object, such as a state dict's metadata
        self._popped(1)

    def _set(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        keys = pairs[::2]
        values = pairs[1::2]
        # Hashing a tuple as deeply nested as the pickle is long would overflow the stack, and large
        # numbers can be made to collide.
        plain = all(isinstance(x, str) or (type(x) is int and abs(x) < 2**31) for x in keys)
        if type(target) is not dict or not plain:
            raise TypeError
        longest = max((len(x) for x in keys if isinstance(x, str)), default=0)
        if longest > _MAX_NAME:  # the names of arrays are made of them, copied at each level
            raise _RefusedError(
                f"its pickle has a name of {longest:,} characters: expected at most {_MAX_NAME}, "
                "as in torch.save(model.state_dict(), 'x.pth')"
            )
        target.update(zip(keys, values, strict=True))

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError
        target.extend(values)


_OPERATIONS: Mapping[str, Callable[[_Machine], None]] = {
    "MARK": lambda machine: machine.marks.append(len(machine.stack)),
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine._marked())),
    "TUPLE1": lambda machine: machine._tuple(1),
    "TUPLE2": lambda machine: machine._tuple(2),
    "TUPLE3": lambda machine: machine._tuple(3),
    "REDUCE": lambda machine: machine._call(),
    "NEWOBJ": lambda machine: machine._call(),
    "BUILD": lambda machine: machine._build(),
    "SETITEM": lambda machine: machine._set(machine._popped(2)),
    "SETITEMS": lambda machine: machine._set(machine._marked()),
    "APPEND": lambda machine: machine._extend(machine._popped(1)),
    "APPENDS": lambda machine: machine._extend(machine._marked()),
    "BINPERSID": lambda machine: machine.stack.append(machine.persistent(machine._popped(1)[0])),
}
