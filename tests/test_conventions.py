"""The house rules of ARCHITECTURE.md, read from the source with `ast`.

Exempt from the docstring's last line are `main`, Linen's `setup`, dunder methods other than
`__call__` of a documented class, and accessors whose class documents them (properties of a
dataclass or a protocol without a docstring of their own).
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aftrans_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*MODULES, *CONFIGS]}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 260, 55

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_module = pytest.mark.parametrize("path", MODULES, ids=label)
every_file = pytest.mark.parametrize("path", [*MODULES, *CONFIGS], ids=label)


def public(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Yields public functions, classes and methods; the bodies of functions are private."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def exempt(definition: Definition) -> bool:
    names = {getattr(item, "id", None) for item in getattr(definition, "decorator_list", ())}
    undocumented = ast.get_docstring(definition) is None
    accessor = names & {"property", "cached_property"} and undocumented
    return definition.name in ("main", "setup") or bool(accessor)


def ending_problem(docstring: str | None) -> str | None:
    """Returns what is wrong with the docstring's end, None where nothing is."""
    if not docstring:
        return "no docstring"
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    sources = [line for line in docstring.splitlines() if SOURCE.match(line.strip())]
    if not SOURCE.match(paragraphs[-1]):
        return f"ends in {paragraphs[-1]!r}"
    if not paragraphs[-1].endswith("."):
        return "no full stop"
    return None if len(sources) == 1 else f"several sources: {sources}"


SOURCE = re.compile(r"(Paper|Follows|Choice): \S")


@every_module
def test_docstrings_end_with_their_source(path):
    problems = {
        f"{definition.name} (line {definition.lineno})": problem
        for definition in public(TREES[path])
        if not exempt(definition) and (problem := ending_problem(ast.get_docstring(definition)))
    }
    assert not problems


def test_the_docstring_rule_can_fail():
    assert ending_problem(None) == "no docstring"
    assert ending_problem("Returns x.") is not None
    assert ending_problem("Returns x.\n\nPaper: eq. 6") == "no full stop"
    assert ending_problem("Returns x.\n\nPaper: eq. 6.\nChoice: so.").startswith("several")
    assert ending_problem("Returns x.\n\nPaper: eq. 6.\n\nArgs:\n  a: b.").startswith("ends in")
    assert ending_problem("Returns x.\n\nChoice: a long\nreason.") is None


@every_file
def test_modules_say_what_they_are(path):
    if path.name != "__init__.py":
        assert ast.get_docstring(TREES[path])


@every_module
def test_public_functions_are_typed(path):
    """Linen's `train` and the like included; `self` and `cls` are not."""
    untyped = []
    for definition in public(TREES[path]):
        if isinstance(definition, ast.FunctionDef):
            given = definition.args
            names = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            names = [name for name in names if name.arg not in ("self", "cls")]
            if definition.returns is None or any(name.annotation is None for name in names):
                untyped.append(definition.name)
    assert not untyped


@every_file
def test_nothing_is_left_over(path):
    source = path.read_text(encoding="utf-8")
    assert not re.findall(r"\b(?:TODO|FIXME|XXX)\b|type: ignore|from __future__ import", source)


@every_module
def test_files_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    functions = (node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef))
    lengths = {function.name: function.end_lineno - function.lineno + 1 for function in functions}
    long = {name for name, length in lengths.items() if length > MAX_FUNCTION_LINES}
    assert long <= {"base_config"}  # a list: one line a key


@every_module
def test_nothing_is_printed(path):
    """By commands, which have a `main`, and the progress display alone."""
    calls = (node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call))
    prints = [call.lineno for call in calls if getattr(call.func, "id", None) == "print"]
    is_command = any(getattr(node, "name", None) == "main" for node in TREES[path].body)
    assert is_command or path.name == "reporting.py" or not prints


# --------------------------------------------------------------------------------------- the arrows


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any depth, as `a.b`; names are taken for modules too."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def outside(path: Path) -> set[str]:
    """The packages from elsewhere that a file imports, but for the standard library's."""
    tops = {name.partition(".")[0] for name in imported(path)}
    return tops - sys.stdlib_module_names - {"aftrans_jax"}


def own(path: Path) -> set[str]:
    return {name for name in imported(path) if within(name, "aftrans_jax")}


def below(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sorted((PACKAGE / folder).glob("*.py")), ids=label)


@below("model")
def test_the_model_needs_jax_and_numpy_alone(path):
    assert outside(path) <= {"jax", "flax", "jaxtyping", "numpy", "scipy"}
    assert all(within(name, "aftrans_jax.model") for name in own(path))


@below("data")
def test_data_knows_no_jax(path):
    assert not outside(path) & {"jax", "flax", "optax", "ml_collections"}
    assert all(within(name, "aftrans_jax.data") for name in own(path))


@below("training")
def test_training_knows_the_model_alone(path):
    assert all(within(name, "aftrans_jax.training", "aftrans_jax.model") for name in own(path))
    assert "ml_collections" not in outside(path)


@every_module
def test_only_build_reads_configurations(path):
    names = {name for name in own(path) if within(name, "aftrans_jax.config")}
    allowed = {
        "build": {"aftrans_jax.config.Config"},
        "flags": {"aftrans_jax.config.base_config"},  # the names of its keys, for an error
    }
    assert names <= allowed.get(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), set())


@pytest.mark.parametrize("path", CONFIGS, ids=label)
def test_configs_know_the_base_alone(path):
    if path.stem != "pretrain_builtin":  # a program of its own: it makes the built-in weights
        assert all(within(name, "aftrans_jax.config") for name in own(path))
        assert outside(path) <= {"ml_collections"}


@every_module
def test_optional_packages_are_imported_late(path):
    """Not where a missing one would keep the module from being imported."""
    optional = {"cv2", "tensorflow", "tensorboard", "tensorflow_datasets"}
    for node in TREES[path].body:
        names = {alias.name for alias in getattr(node, "names", ())} | {
            getattr(node, "module", None) or ""
        }
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        assert not (is_import and {name.partition(".")[0] for name in names} & optional)


WITHOUT_OPENCV = """
import importlib, sys

sys.modules["cv2"] = None  # an import fails as if the package were not there
for name in {names}:
    importlib.import_module(name)
tops = set(name.partition(".")[0] for name in sys.modules)
assert not tops & set(("tensorflow", "tensorboard", "tensorflow_datasets"))

import io, pathlib, tempfile
import numpy as np
from PIL import Image
from aftrans_jax.data import transforms

path = pathlib.Path(tempfile.mkdtemp()) / "x.jpg"
Image.new("RGB", (9, 7), (200, 10, 10)).save(path, quality=100)
example = transforms.Example(transforms.decode_image(path), 0, np.full(4, np.nan, np.float32))
image = transforms.test_transform(example, image_size=16, resize_size=20).image
assert image.shape == (16, 16, 3) and image[..., 0].min() > 190
print("fine")
"""


def test_every_module_is_imported_without_opencv_and_none_imports_tensorflow():
    names = [label(path).removesuffix(".py").replace("/", ".") for path in MODULES]
    names = [name.removesuffix(".__init__") for name in names]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENCV.format(names=names)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
