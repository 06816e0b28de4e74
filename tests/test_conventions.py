"""The house rules of ARCHITECTURE.md, read from the source with `ast`."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from places import ROOT

from aftrans_jax.config import base_config

PACKAGE = ROOT / "aftrans_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
TEXTS = {path: path.read_text(encoding="utf-8") for path in [*MODULES, *CONFIGS]}
TREES = {path: ast.parse(text) for path, text in TEXTS.items()}
CONFIG = base_config()
MAX_FILE_LINES, MAX_FUNCTION_LINES = 260, 55

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broken(rule: Callable[[Path], object], paths: Iterable[Path] = TREES) -> dict[str, object]:
    """What a rule finds wrong, by file; nothing where it is kept."""
    return {label(path): wrong for path in paths if (wrong := rule(path))}


def public(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Yields public functions, classes and methods; the bodies of functions are private."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def undocumented(tree: ast.Module) -> list[str]:
    """The public definitions without a docstring.

    `main` and Linen's `setup` need none, nor do properties that their class describes.
    """
    return [
        f"{definition.name} (line {definition.lineno})"
        for definition in public(tree)
        if ast.get_docstring(definition) is None
        and definition.name not in ("main", "setup")
        and not {getattr(item, "id", None) for item in getattr(definition, "decorator_list", ())}
        & {"property", "cached_property"}
    ]


def test_what_is_public_is_documented():
    assert not broken(lambda path: undocumented(TREES[path]), MODULES)


def test_the_docstring_rule_can_fail():
    assert undocumented(ast.parse("def f(): ..."))
    assert undocumented(ast.parse("class C:\n  'c'\n  def f(self): ..."))
    assert not undocumented(ast.parse("class C:\n  'c'\n  @property\n  def f(self): ..."))


# -------------------------------------------------------------------- what docstrings refer to


def dangling(text: str) -> list[str]:
    """The references `module.name` to a module or folder of the package without that name."""
    found = []
    for module, name in re.findall(r"`(\w+)\.(\w+)`", text):
        paths = [path for path in MODULES if module in (path.stem, path.parent.name)]
        known = [path for path in paths if re.search(rf"\b{name}\b", f"{path.stem} {TEXTS[path]}")]
        if paths and not known and name != "txt" and name not in CONFIG.get(module, ()):
            found.append(f"{module}.{name}")
    return found


def test_what_docstrings_refer_to_is_there():
    assert not broken(lambda path: dangling(TEXTS[path]))


def test_the_rule_of_references_can_fail():
    assert dangling("see `crops.shrink` and `crops.no_such_name`") == ["crops.no_such_name"]


# ------------------------------------------------------------------- what the paper is quoted for

PAPER = {
    "section": {"1", "2.1", "2.2", "2.2.1", "2.2.2", "3.1", "3.2", "4.1", "4.2", "4.3", "5"},
    "eq": {str(number) for number in range(1, 11)},
    "table": {str(number) for number in range(1, 7)},
    "fig": {"1", "2", "3"},
}
_KIND = r"(section|eq|equation|table|fig|figure)s?\.?\s"
_NUMBERS = r"(\d+(?:\.\d+)*(?:(?:, | and | or |-| to )\d+(?:\.\d+)*)*)"
DEPARTURES = ("model/", "weights/fitting.py", "config.py")
DEPARTURES += tuple(
    f"training/{name}.py" for name in ("losses", "optimizer", "precision", "train_step")
)


def citations(text: str) -> list[tuple[str, str]]:
    """What a text cites, as ("section", "2.2.1"); of "tables 3-6" every table."""
    found = []
    for kind, numbers in re.findall(_KIND + _NUMBERS, text):
        kind = {"equation": "eq", "figure": "fig"}.get(kind, kind)
        first, *rest = re.split(r"(, | and | or |-| to )", numbers)
        found.append((kind, first))
        for between, number in zip(rest[::2], rest[1::2], strict=True):
            start = int(found[-1][1]) + 1 if between in ("-", " to ") else None
            if start is not None:
                found += [(kind, str(middle)) for middle in range(start, int(number))]
            found.append((kind, number))
    return found


def sources(text: str, word: str) -> list[str]:
    """The comments, and the paragraphs of docstrings, that begin with "Paper:" or another word."""
    found = []
    for paragraph in re.split(r'\n\s*\n|"""', text):
        head, mark, said = paragraph.partition(f"{word}: ")
        is_comment = "#" in head.rpartition("\n")[2]
        if mark and is_comment:
            found += [line.partition(mark)[2] for line in paragraph.splitlines() if mark in line]
        elif mark and not head.strip():
            found.append(" ".join(said.split()))
    return found


def without_a_place(path: Path) -> list[str]:
    """The citations that name no section, equation, table or figure that the paper has."""
    return [
        text
        for text in sources(TEXTS[path], "Paper")
        if not (found := citations(text))
        or not all(number in PAPER[kind] for kind, number in found)
    ]


def test_the_paper_is_cited_where_it_exists():
    assert not broken(without_a_place)


def test_departures_from_the_paper_are_listed_where_it_decides():
    listed = {label(path): len(sources(text, "Choice")) for path, text in TEXTS.items()}
    elsewhere = {
        name: count
        for name, count in listed.items()
        if count and not name.removeprefix("aftrans_jax/").startswith(DEPARTURES)
    }
    assert not elsewhere
    assert 10 <= sum(listed.values()) <= 45


def test_the_citation_rule_can_fail():
    assert citations("section 3.4 and tables 3-6") == [
        *[("section", "3.4"), ("table", "3"), ("table", "4"), ("table", "5"), ("table", "6")]
    ]
    assert citations("eq. 8 and 9, fig. 2") == [("eq", "8"), ("eq", "9"), ("fig", "2")]
    assert citations("equations 1 to 4")[-1] == ("eq", "4")
    source = '"""A.\n\n    Paper: section\n    9.9.\n"""\nx = 1  # Paper: table 7\n'
    assert [citations(text) for text in sources(source, "Paper")] == [
        [("section", "9.9")],
        [("table", "7")],
    ]


def test_the_paper_has_these_sections():
    paper = ROOT.parent / "shared" / "PAPER.txt"
    if not paper.exists():
        pytest.skip(f"{paper} is absent: the paper's text is not part of the project")
    text = paper.read_text(encoding="utf-8")
    assert all(re.search(rf"^{re.escape(x)}\.? +[A-Z]", text, re.M) for x in PAPER["section"])
    assert all(f"Table {number}." in text for number in PAPER["table"])
    assert all(f"({number})" in text for number in PAPER["eq"])


def test_modules_say_what_they_are():
    named = (path for path in TREES if path.name != "__init__.py")
    assert not [label(path) for path in named if not ast.get_docstring(TREES[path])]


def untyped(path: Path) -> list[str]:
    """Linen's `train` and the like included; `self` and `cls` are not."""
    found = []
    for definition in public(TREES[path]):
        if isinstance(definition, ast.FunctionDef):
            given = definition.args
            names = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            names = [name for name in names if name.arg not in ("self", "cls")]
            if definition.returns is None or any(name.annotation is None for name in names):
                found.append(definition.name)
    return found


def test_public_functions_are_typed():
    assert not broken(untyped, MODULES)


def test_nothing_is_left_over():
    left = re.compile(r"\b(?:TODO|FIXME|XXX)\b|type: ignore|from __future__ import")
    assert not broken(lambda path: left.findall(TEXTS[path]))


def too_long(path: Path) -> dict[str, int]:
    """The lines of a file and of its functions, of those that have too many."""
    functions = (node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef))
    lengths = {function.name: function.end_lineno - function.lineno + 1 for function in functions}
    lengths.pop("base_config", None)  # a list: one line a key
    found = {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}
    whole = len(TEXTS[path].splitlines())
    return found | ({"the file": whole} if whole > MAX_FILE_LINES else {})


def test_files_and_functions_are_short():
    assert not broken(too_long, MODULES)


def printing(path: Path) -> list[int]:
    """The lines that print; commands, which have a `main`, flags and the progress display may."""
    if path.name in ("flags.py", "reporting.py"):
        return []
    if any(getattr(node, "name", None) == "main" for node in TREES[path].body):
        return []
    calls = (node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if getattr(call.func, "id", None) == "print"]


def test_nothing_is_printed():
    assert not broken(printing, MODULES)


# --------------------------------------------------------------------------------------- the arrows


@functools.cache
def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any depth, as `a.b`; names are taken for modules too."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{label(path)}, line {node.lineno}: a relative import"
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


# What each room may import of the others and of other people's packages, None for any package.
COMMANDS = ("main", "check_data", "predict", "explain", "export", "study", "compare", "convert")
BEHIND_COMMANDS = {"cache", "command", "data", "experiment", "files", "flags", "hosts"}
BEHIND_COMMANDS |= {"inference", "paths", "photos", "run", "studies", "workdir"}
PLAIN = {"numpy", "jaxtyping", "PIL"}
ROOMS: dict[str, tuple[set[str], set[str] | None]] = {
    "model": (set(), {"jax", "flax", "jaxtyping", "numpy"}),
    "cache": (set(), {"jax"}),
    "files": ({"locks"}, set()),
    "locks": (set(), set()),
    "paths": (set(), set()),
    "hosts": (set(), {"jax"}),
    "weights": (
        {"cache", "files", "locks", "model.variants"},
        {"flax", "jaxtyping", "numpy", "pooch", "requests", "scipy", "tqdm"}
        | {"huggingface_hub", "safetensors"},
    ),
    "training": ({"files", "model"}, None),
    "data.examples": (set(), PLAIN),
    "data.loading": (
        {"data.examples", "files"},
        PLAIN | {"absl", "cv2", "grain", "pillow_heif", "psutil", "scipy"},
    ),
    "data.sets": (
        {"data.examples", "data.loading", "files"},
        PLAIN | {"scipy", "tensorflow_datasets"},
    ),
    "data.doctor": ({"data.examples", "data.loading", "data.sets"}, PLAIN | {"tqdm"}),
    "report": ({"files"}, PLAIN | {"jinja2", "scipy"}),
    "config": ({"paths"}, {"ml_collections"}),
    "workdir": ({"config", "data", "files", "locks", "training", "weights"}, None),
    "experiment": ({"config", "data", "model", "training", "weights", "workdir"}, None),
    "run": (
        {"config", "data", "experiment", "files", "paths", "report", "training", "weights"}
        | {"workdir"},
        None,
    ),
    "inference": (
        {"config", "data", "experiment", "files", "locks", "model", "paths", "report"}
        | {"training", "weights", "workdir"},
        None,
    ),
    "studies": (
        {"config", "data", "experiment", "files", "model", "report", "run", "training", "weights"}
        | {"workdir"},
        None,
    ),
    "command": ({"data.loading"}, {"tqdm"}),
    "flags": ({"config", "configs", "paths"}, None),
    "photos": ({"command", "data", "paths"}, set()),
    "library": ({"config", "configs", "experiment", "inference", "paths", "run"}, None),
    **dict.fromkeys(COMMANDS, (BEHIND_COMMANDS | {"weights"}, None)),
}


def room(path: Path) -> str:
    """The longest name in `ROOMS` that a module lies in, "" for none."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return max((known for known in ROOMS if within(name, known)), key=len, default="")


def test_every_module_lies_in_a_room():
    named = (path for path in MODULES if path.name != "__init__.py")
    assert not [label(path) for path in named if not room(path)]


def astray(path: Path) -> set[str]:
    """What a module imports against the arrows."""
    if not room(path):
        return set()  # the face of the package and of data/
    rooms, packages = ROOMS[room(path)]
    allowed = [f"aftrans_jax.{name}" for name in {*rooms, room(path)}]
    found = {name for name in own(path) - {"aftrans_jax.__version__"} if not within(name, *allowed)}
    if packages is not None:
        found |= outside(path) - packages
    if room(path) not in ("config", "experiment", "flags", *COMMANDS):
        found |= outside(path) & {"ml_collections"}
    return found


def test_imports_follow_the_arrows():
    assert not broken(astray, MODULES)


def not_for_configs(path: Path) -> set[str]:
    """What a configuration imports beside the base; studies know recipes and each other, too."""
    studies = ("aftrans_jax.configs", "aftrans_jax.studies.definition")
    known = ("aftrans_jax.config", *(studies if path.parent.name == "studies" else ()))
    return {name for name in own(path) if not within(name, *known)} | outside(path)


def test_configs_know_the_base_alone():
    assert not broken(not_for_configs, CONFIGS)


OPTIONAL = {"cv2", "pillow_heif", "tensorflow", "tensorboard", "tensorflow_datasets", "sklearn"}
OPTIONAL |= {"huggingface_hub"}


def imported_early(path: Path) -> set[str]:
    """The optional packages whose absence would keep a module from being imported."""
    found = set()
    for node in TREES[path].body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            found |= {name.partition(".")[0] for name in names} & OPTIONAL
    return found


def test_optional_packages_are_imported_late():
    assert not broken(imported_early, MODULES)


def test_the_rules_of_files_can_fail(monkeypatch):
    path = PACKAGE / "model" / "bad.py"
    source = (
        "import sklearn\nfrom aftrans_jax.data import x\n\ndef f(a):\n  print()\n" + "  1\n" * 300
    )
    monkeypatch.setitem(TEXTS, path, source)
    monkeypatch.setitem(TREES, path, ast.parse(source))
    assert untyped(path) == ["f"]
    assert too_long(path) == {"f": 302, "the file": 305}
    assert printing(path) == [5]
    assert astray(path) == {"sklearn", "aftrans_jax.data.x"}
    assert imported_early(path) == {"sklearn"}
    assert broken(printing, [path]) == {"aftrans_jax/model/bad.py": [5]}


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
from aftrans_jax.data.examples import Example
from aftrans_jax.data.loading.decode import decode_image
from aftrans_jax.data.loading.transforms import test_transform


path = pathlib.Path(tempfile.mkdtemp()) / "x.jpg"
Image.new("RGB", (9, 7), (200, 10, 10)).save(path, quality=100)
example = Example(decode_image(path), 0, np.full(4, np.nan, np.float32))
image = test_transform(example, image_size=16, resize_size=20).image
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
