"""Names in pages and notebooks that must exist: commands with their flags, keys, files."""

import re

from places import ROOT

from aftrans_jax.config import base_config

_KEY = re.compile(r"--config\.([a-z][\w.]*\w)")
_KEY_ALONE = re.compile(
    r"`((?:data|eval|loss|model|region|report|sacm|train)\.(?!js\b)\w+)(?:=[^`]*)?`"
)


def assert_all_exist(text: str) -> None:
    """Fails where a text names a key, file or command that does not exist."""
    known = base_config()
    for key in [*_KEY.findall(text), *_KEY_ALONE.findall(text)]:
        group, _, name = key.rpartition(".")
        assert name in (known[group] if group else known), key
    for name in re.findall(r"(?:configs|launch)/[\w/]+\.\w+", text):
        assert (ROOT / name).exists(), name
    for command in re.findall(r"python -m aftrans_jax\.(\w+)", text):
        assert_is_command(command)
    for command, line in re.findall(r"python -m aftrans_jax\.(\w+)((?:\\\n|[^\n`])*)", text):
        for flag in re.findall(r"(?<=\s)--(\w+)", line):
            assert_takes(command, flag)


def assert_is_command(name: str) -> None:
    text = (ROOT / "aftrans_jax" / f"{name}.py").read_text(encoding="utf-8")
    assert 'if __name__ == "__main__":' in text, name


def assert_takes(command: str, flag: str) -> None:
    """Fails where a command has no such flag; that of configurations is in flags.py."""
    files = [f"{command}.py", "flags.py"]
    text = "".join((ROOT / "aftrans_jax" / file).read_text(encoding="utf-8") for file in files)
    assert re.search(rf'"(--)?{flag}"', text), f"{command} --{flag}"
