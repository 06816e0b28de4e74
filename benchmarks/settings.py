"""The settings of all benchmarks in one object, with their flags."""

import argparse
import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, get_type_hints

from aftrans_jax.config import Config, recipe_config
from aftrans_jax.experiment.auto_settings import resolve_auto
from aftrans_jax.model.attention import KERNELS, automatic_kernel, check_kernel
from aftrans_jax.model.variants import VARIANTS
from aftrans_jax.training.precision import PRECISIONS


class Flag(NamedTuple):
    """How a setting is given on the command line."""

    help: str
    type: Callable[[str], Any] = str
    choices: Collection[str] | None = None


def _no_pause() -> None:
    pass


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(";"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of a benchmark; the defaults are an accelerator's.

    backend: JAX's backend: "cpu", "gpu" or "tpu".
    pause: called before every turn; waits for the other side of a comparison.
    """

    backend: str
    variant: Annotated[str, Flag("of the trunk", choices=VARIANTS)] = "b16"
    image_size: Annotated[int, Flag("global branch, pixels", int)] = 448
    local_size: Annotated[int, Flag("local branch; half the image by default", int)] = 0
    stride: Annotated[int, Flag("between patches, pixels", int)] = 12
    batch: Annotated[int, Flag("images in a call", int)] = 48
    precision: Annotated[str, Flag("of the computation", choices=PRECISIONS)] = "bfloat16"
    attention: Annotated[str, Flag("kernel", choices=KERNELS)] = "auto"
    num_calls: Annotated[int, Flag("calls that are timed, at least 2", int)] = 20
    num_warm_up: Annotated[int, Flag("calls before them", int)] = 3
    only: Annotated[tuple[str, ...], Flag("parts of step, options or large: 'a;b'", _names)] = ()
    photos: Annotated[Path | None, Flag("JPEGs to load, CUB to localize in", Path)] = None
    pretrained: Annotated[Path | None, Flag("DeiT-tiny's npz, to localize", Path)] = None
    target: Annotated[str | None, Flag("to compile for: v5e:2x2x1, h100_sxm.txtpb")] = None
    threads: Annotated[int, Flag("CPU cores beside PyTorch", int)] = os.cpu_count() or 1
    pause: Callable[[], Any] = _no_pause

    def pick(self, known: Collection[str], default: Collection[str]) -> list[str]:
        """Returns the parts to measure.

        Raises:
          ValueError: one of them is not known.
        """
        if unknown := set(self.only) - set(known):
            raise ValueError(f"--only: {sorted(unknown)}: expected some of {list(known)}")
        return list(self.only or default)

    def detached(self) -> "Settings":
        """Returns the same settings for another process, which does not pause."""
        return dataclasses.replace(self, pause=_no_pause)

    def config(self) -> Config:
        """Returns the configuration of a run with these settings."""
        config = recipe_config("recipe=paper")
        config.model.variant = self.variant
        config.model.stride = self.stride
        config.model.attention = self.attention
        config.train.precision = self.precision
        config.data.image_size = config.data.source_size = self.image_size
        config.data.local_size = self.local_size
        return resolve_auto(config)[0]

    def resolved(self) -> dict[str, str]:
        """Returns the names of the type and of the attention kernel in use.

        Raises:
          ValueError: the kernel does not work with the type or here.
        """
        dtype = PRECISIONS[self.precision]().dtype
        check_kernel(self.attention, dtype)
        kernel = automatic_kernel(dtype) if self.attention == "auto" else self.attention
        return {"dtype": dtype.name, "attention": kernel}

    def record(self, reads: Collection[str]) -> dict[str, Any]:
        """Returns the settings that are read, as they are written: of paths only the last part."""
        values = {name: getattr(self, name) for name in FLAGS if name in reads}
        values = {name: x.name if isinstance(x, Path) else x for name, x in values.items()}
        return {name: value for name, value in values.items() if value not in (None, ())}


FLAGS: Mapping[str, Flag] = MappingProxyType(
    {
        name: hint.__metadata__[0]
        for name, hint in get_type_hints(Settings, include_extras=True).items()
        if hasattr(hint, "__metadata__")
    }
)
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cpu": {
            **{"variant": "ti16", "image_size": 224, "batch": 4, "precision": "float32"},
            **{"num_calls": 7, "num_warm_up": 1},
        }
    }
)


def flag(name: str) -> str:
    """Returns the flag of a setting on the command line."""
    return f"--{name.replace('_', '-')}"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each setting; those that are not given stay None."""
    for name, how in FLAGS.items():
        parser.add_argument(flag(name), **how._asdict())


def settle(backend: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """Returns a device's settings, changed by a benchmark's defaults and by given flags."""
    flags = {name: value for name in FLAGS if (value := given.get(name)) is not None}
    values = {**DEFAULTS.get(backend, {}), **defaults, **flags}
    settings = Settings(backend, **values)
    local_size = settings.local_size or settings.image_size // 2
    return dataclasses.replace(settings, local_size=local_size)
