"""Compiled programs are kept where the environment says, by each command that compiles."""

import ast
from pathlib import Path

import jax
import pytest
from places import ROOT

from aftrans_jax.cache import keep_compiled


@pytest.fixture(autouse=True)
def restored():
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"JAX_COMPILATION_CACHE_DIR": "a"}, "a"),
        ({"JAX_COMPILATION_CACHE_DIR": ""}, None),
        ({"AFTRANS_CACHE": "b", "XDG_CACHE_HOME": "c"}, "b"),
        ({"XDG_CACHE_HOME": "c"}, "c/aftrans_jax"),
        ({"AFTRANS_CACHE": "a file/b"}, None),  # cannot be made
    ],
)
def test_programs_are_kept_where_the_environment_says(tmp_path, monkeypatch, environment, folder):
    monkeypatch.chdir(tmp_path)
    Path("a file").touch()
    for name in ("JAX_COMPILATION_CACHE_DIR", "AFTRANS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    keep_compiled()
    assert jax.config.jax_compilation_cache_dir == folder


@pytest.mark.parametrize("command", ["main", "predict", "explain", "study"])
def test_each_command_that_compiles_keeps_what_it_compiled(command):
    tree = ast.parse(Path(ROOT, "aftrans_jax", f"{command}.py").read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert "keep_compiled" in {call.id for call in calls if isinstance(call, ast.Name)}
