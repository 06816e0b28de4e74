"""The hosted notebook is sound and names what there is; run_notebook.py runs it."""

import ast
import importlib
import re
import subprocess
import sys

import nbformat
import pytest
from named import assert_all_exist, assert_is_command, assert_takes
from places import ROOT

NOTEBOOK = nbformat.read(ROOT / "launch" / "aftrans_colab.ipynb", as_version=4)
CODE = {cell.id: cell.source for cell in NOTEBOOK.cells if cell.cell_type == "code"}
TREES = {name: ast.parse(source) for name, source in CODE.items()}
NODES = [node for tree in TREES.values() for node in ast.walk(tree)]


def test_nothing_that_ran_is_kept_in_it():
    nbformat.validate(NOTEBOOK)
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert len(cells) >= 10
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]


def test_its_cells_compile_and_use_names_that_cells_before_them_define():
    known = set(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)
    for name, tree in TREES.items():
        compile(tree, name, "exec")
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.FunctionDef):
                known |= {
                    node.name,
                    *(arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)),
                }
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        assert used <= known, name


def test_the_commands_keys_and_files_that_it_names_exist():
    for cell in NOTEBOOK.cells:
        assert_all_exist(cell.source)
    calls = [
        node
        for node in NODES
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "aftrans"
    ]
    given = {}
    for call in calls:
        command, *texts = [
            text.value
            for argument in call.args
            for text in ast.walk(argument)
            if isinstance(text, ast.Constant) and isinstance(text.value, str)
        ]
        assert_is_command(command)
        flags = [text[2:].partition("=")[0].partition(".")[0] for text in texts if text[:2] == "--"]
        for flag in flags:
            assert_takes(command, flag)
        given.setdefault(command, set()).update(flags)
    assert given["main"] == {"config", "workdir"}
    assert given["predict"] == {"workdir", "top"}


def test_what_it_imports_of_the_package_is_there():
    found = [
        getattr(importlib.import_module(node.module), alias.name)
        for node in NODES
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aftrans_jax")
        for alias in node.names
    ]
    assert found


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16])
def test_the_devices_of_any_machine_share_a_batch_of_own_photos(devices):
    """A run keeps its batch, so it may go on with another number of devices."""
    (batch,) = re.findall(r"--config\.train\.batch_size=(\d+)", CODE["train"])
    assert int(batch) % devices == 0


def test_the_advice_on_memory_holds_on_8_devices():
    (text,) = (cell.source for cell in NOTEBOOK.cells if cell.id == "train-text")
    (parts,) = re.findall(r"--config\.train\.accumulation_steps=(\d+)", text)
    (batch,) = re.findall(r"on 8 devices with\n`--config\.train\.batch_size=(\d+)", text)
    assert int(batch) % (8 * int(parts)) == 0


def test_where_the_package_is_has_to_be_known(tmp_path):
    """The first cell, by a Python that finds neither the package nor a checkout."""
    hide = "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"
    done = subprocess.run(
        [sys.executable, "-c", hide + CODE["install"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Write into SOURCE where the package is" in done.stderr
