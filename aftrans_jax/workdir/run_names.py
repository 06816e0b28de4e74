"""Names of working directories: a configuration's name and the settings that were changed."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aftrans_jax.weights.names import weights_name

_LONGEST = 80  # characters


def run_name(name: str, changed: Mapping[str, Any]) -> str:
    """Returns a name with the changed settings, such as "cub,seed=1", shortened with a hash."""
    parts = []
    for key in sorted(changed, key=order):
        value = changed[key]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        text = Path(text).name if key == "data.dir" else text
        text = weights_name(text) if key == "pretrained" else text
        parts.append(f",{key}={re.sub(r'[^A-Za-z0-9._,=+-]', '_', text)}")
    added = "".join(parts)
    if len(Path(name).name) + len(added) > _LONGEST:
        digest = hashlib.sha256(json.dumps(dict(changed), sort_keys=True).encode()).hexdigest()[:8]
        added = f"{added[: _LONGEST - len(Path(name).name) - 9]}-{digest}"
    return name + added


def another_run(workdir: Path, changed: Mapping[str, Any]) -> str:
    """Returns advice where a directory holds a run with other settings."""
    name = run_name(str(workdir), changed)
    return f"train in another directory, with the --config of this one: --workdir={name}"


def order(key: str) -> tuple[bool, str]:
    """Returns what keys are sorted by: those without a group, such as seed, come first."""
    return "." in key, key
