"""Groups of parameters, by their names: which train, which decay, and their learning rates."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

ParamPath = tuple[str, ...]  # path of a parameter, such as ("vit", "head", "kernel")
_BLOCK = "encoderblock_"


def decayed(params: Any) -> Any:
    """Returns the tree with True where weight decay applies: for the kernels alone.

    Biases, norms, class tokens and positions are not decayed.

    Follows: timm param_groups_weight_decay and DeiT's no_weight_decay, for every optimizer.
    """
    return unflatten_dict({path: path[-1] == "kernel" for path in flatten_dict(params)})


def rate_scales(params: Any, *, decay: float, num_layers: int) -> Any:
    """Returns the tree with the factor of each parameter's learning rate.

    Patch embedding, class token and positions are group 0, and block i (0, 1, ...) is group i + 1.
    The last group is all else: the final norm, the head, and what is outside the trunk, such as a
    local branch's tokens and the SACM. It has the schedule's rate; every other group has the rate
    of the next one times `decay`.

    Args:
      params: parameters of a model, or some of them.
      decay: factor from one group to the one before, in (0, 1].
      num_layers: number of the trunk's blocks.

    Follows: BEiT LayerDecayValueAssigner and MAE param_groups_lrd.
    """
    last = num_layers + 1
    return unflatten_dict(
        {path: decay ** (last - _group(path, last)) for path in flatten_dict(params)}
    )


def _group(path: ParamPath, last: int) -> int:
    if _is_always_trained(path) or "encoder_norm" in path:
        return last
    return _block(path) + 1


def _block(path: ParamPath) -> int:
    """Returns the number of a parameter's block, from 0; -1 for what comes before the blocks."""
    numbers = [name.removeprefix(_BLOCK) for name in path if name.startswith(_BLOCK)]
    return int(numbers[0]) if numbers else -1


def _is_always_trained(path: ParamPath) -> bool:
    return path[0] != "vit" or path[1] == "head"


def _is_norm(path: ParamPath) -> bool:
    return "norm" in path[-2].lower()


# Whether a parameter of the trunk, the head excepted, trains: by its path and the first trained
# block.
TRAINABLE: Mapping[str, Callable[[ParamPath, int], bool]] = MappingProxyType(
    {
        "all": lambda path, first: True,
        "head": lambda path, first: False,
        "last:K": lambda path, first: _block(path) >= first or "encoder_norm" in path,
        "norms": lambda path, first: _is_norm(path),
    }
)


def trainable(name: str, num_layers: int) -> Callable[[ParamPath], bool]:
    """Returns a function that says whether a parameter trains, by its path.

    The head and everything outside the trunk always do.

    Args:
      name: name in `TRAINABLE`, with a number of blocks in the place of K.
      num_layers: number of the trunk's blocks.

    Raises:
      ValueError: there is no such choice, or there are not so many blocks.
    """
    kind, _, number = name.partition(":")
    kind = "last:K" if kind == "last" else name
    if kind not in TRAINABLE:
        listed = ", ".join(TRAINABLE)
        raise ValueError(f"train.trainable={name!r} is unknown: choose one of {listed}")
    count = int(number) if number.isascii() and number.isdecimal() else 0
    if kind == "last:K" and not 1 <= count <= num_layers:
        raise ValueError(
            f"train.trainable={name!r} must be last:K with K from 1 to {num_layers}, the trunk's "
            "last blocks; such as --config.train.trainable=last:2"
        )
    rule = TRAINABLE[kind]
    first = num_layers - count
    return lambda path: _is_always_trained(path) or rule(path, first)


def partition(params: Any, is_wanted: Callable[[ParamPath], bool]) -> tuple[Any, Any]:
    """Returns the wanted parameters and the rest, each nested as in `params`."""
    flat = flatten_dict(params)
    wanted = {path: leaf for path, leaf in flat.items() if is_wanted(path)}
    rest = {path: leaf for path, leaf in flat.items() if path not in wanted}
    return unflatten_dict(wanted), unflatten_dict(rest)


def merge(one: Any, other: Any) -> Any:
    """Returns the parameters of both trees in one."""
    return unflatten_dict({**flatten_dict(one), **flatten_dict(other)})
