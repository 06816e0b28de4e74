"""The house rules that ruff does not know: arrows, citations, references, lengths of files."""

import ast
import functools
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
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
MAX_LINES = 260


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broken(rule: Callable[[Path], object], paths: Iterable[Path] = TREES) -> dict[str, object]:
    """What a rule finds wrong, by file; nothing where it is kept."""
    return {label(path): wrong for path in paths if (wrong := rule(path))}


# ------------------------------------------------------------------------ what texts refer to

# All that is written by hand, but for this file, whose examples are wrong, and the history.
SUFFIXES = (".py", ".sh", ".md", ".ipynb", ".html", ".js", ".css", ".yaml", ".yml")
WRITTEN = [
    *(path for path in ROOT.glob("*.md") if path.stem != "CHANGELOG"),
    *(
        path
        for folder in ("aftrans_jax", "benchmarks", "configs", "docs", "launch", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES and path != Path(__file__)
    ),
]
WRITTEN = {path: path.read_text(encoding="utf-8") for path in WRITTEN}
DOTTED = {label(path)[:-3].replace("/", ".").removesuffix(".__init__"): path for path in MODULES}
DOTTED |= {f"aftrans_jax.{label(path)[:-3].replace('/', '.')}": path for path in CONFIGS}

# A file of code or of results; the name of one alone in quotes is a value.
FILE = re.compile(
    r"(?<![\w./*{}$<>'\"-])"
    r"((?:[\w-]+/)*[\w-]+\.(?:py|sh)|(?:cpu|h100|v5e|studies)/[\w-]+\.(?:json|md))\b"
)
FILES = [f"/{label(path)}" for path in [*WRITTEN, Path(__file__)]]
FILES += [f"/{label(path)}" for path in (ROOT / "benchmarks" / "results").rglob("*.*")]
ELSEWHERE = ("models/vit.py", "flexi/vit.py", "tpu_info.py", "train.py")  # other people's
ELSEWHERE += ("NAME.py", "nosuch.py", "own.py")  # stand for any name
PACKAGES = sys.stdlib_module_names | {"aft", "jax", "module", "nn", "np", "torch"}
DATA = {"csv", "html", "js", "json", "jsonl", "log", "mat", "md", "npz", "onnx", "stablehlo"}
DATA |= {"toml", "txt"}


def holds(path: Path, name: str) -> bool:
    return bool(re.search(rf"\b{name}\b", f"{path.stem} {WRITTEN[path]}"))


def is_file(name: str) -> bool:
    return name.endswith(ELSEWHERE) or any(path.endswith(f"/{name}") for path in FILES)


def is_known(module: str, name: str) -> bool:
    """Whether a module or folder holds a name, or a configuration's group a key."""
    if module in PACKAGES or name in {"py", "sh"} | DATA or name in CONFIG.get(module, ()):
        return True
    return any(holds(path, name) for path in WRITTEN if module in (path.stem, path.parent.name))


def is_dotted(name: str) -> bool:
    """Whether a name that begins with the package's leads to a module or to what one holds."""
    place, inner = name, ""
    while place not in DOTTED:
        place, _, inner = place.rpartition(".")
    return not inner or holds(DOTTED[place], inner)


def dangling(text: str) -> list[str]:
    """What a text refers to that is not there: a/file.py, `module.name`, aftrans_jax.module."""
    names = re.findall(r"`([a-z_]\w*)\.([a-z_]\w*)", text)
    dotted = re.findall(r"\baftrans_jax(?:\.(?!tar\b)[a-z]\w*)+", text)
    return [
        *(name for name in FILE.findall(text) if not is_file(name)),
        *(f"{module}.{name}" for module, name in names if not is_known(module, name)),
        *(name for name in dotted if not is_dotted(name)),
    ]


def test_what_texts_refer_to_is_there():
    assert not broken(lambda path: dangling(WRITTEN[path]), WRITTEN)


def test_the_rule_of_references_can_fail():
    there = (
        "crops.py, model/crops.py, `resize.shrink`, `sacm.gate`, aftrans_jax.model.resize.shrink"
    )
    assert not dangling(there)
    gone = ["model/gone.py", "gone.sh", "crops.gone", "gone.shrink", "aftrans_jax.gone.shrink"]
    text = "model/gone.py, gone.sh, `crops.gone`, `gone.shrink`, aftrans_jax.gone.shrink"
    assert dangling(text) == gone


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


def too_long(path: Path) -> int:
    """The lines of a file that has too many, else 0."""
    return lines if (lines := len(TEXTS[path].splitlines())) > MAX_LINES else 0


def test_files_are_short():
    assert not broken(too_long, MODULES)


# --------------------------------------------------------------------------------------- the arrows


@functools.cache
def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any depth, as `a.b`; names are taken for modules too."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
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
BEHIND_COMMANDS |= {"inference", "model.heads", "paths", "photos", "run", "settings", "studies"}
BEHIND_COMMANDS |= {"wording", "workdir"}
PLAIN = {"numpy", "jaxtyping", "PIL"}
ROOMS: dict[str, tuple[set[str], set[str] | None]] = {
    "model": (set(), {"jax", "flax", "jaxtyping", "numpy"}),
    "cache": (set(), {"jax"}),
    "files": ({"locks"}, set()),
    "json_files": ({"files"}, set()),
    "locks": (set(), set()),
    "paths": (set(), set()),
    "hosts": (set(), {"jax"}),
    "weights": (
        {"cache", "files", "locks", "model.variants"},
        {"flax", "jaxtyping", "numpy", "pooch", "requests", "scipy", "tqdm"}
        | {"huggingface_hub", "safetensors"},
    ),
    "training": ({"files", "json_files", "model"}, None),
    "data.examples": (set(), PLAIN),
    "data.names": (set(), set()),
    "wording": (set(), set()),
    "settings": ({"config", "json_files"}, set()),
    "data.decoding": ({"files"}, PLAIN | {"pillow_heif"}),
    "data.loading": ({"data.examples"}, PLAIN | {"absl", "cv2", "grain", "psutil", "scipy"}),
    "data.sets": (
        {"data.decoding", "data.examples", "data.loading", "data.names", "files", "wording"},
        PLAIN | {"scipy", "tensorflow_datasets"},
    ),
    "data.doctor": (
        {"data.decoding", "data.examples", "data.loading", "data.names", "data.sets", "wording"},
        PLAIN | {"tqdm"},
    ),
    "report": ({"files"}, PLAIN | {"jinja2", "scipy"}),
    "config": ({"paths"}, {"ml_collections"}),
    "config_files": ({"config"}, set()),
    "key_groups": (set(), set()),
    "keys": ({"config"}, {"ml_collections"}),
    "workdir": (
        {"config", "data", "files", "json_files", "key_groups", "locks", "paths", "settings"}
        | {"training", "weights", "wording"},
        None,
    ),
    "experiment": (
        {"config", "data", "key_groups", "model", "settings", "training", "weights", "wording"}
        | {"workdir"},
        None,
    ),
    "run": (
        {"config", "data", "experiment", "files", "json_files", "key_groups", "model.heads"}
        | {"paths", "report", "settings", "training", "weights", "workdir"},
        None,
    ),
    "inference": (
        {"config", "data", "experiment", "files", "locks", "model", "paths", "report"}
        | {"json_files", "settings", "training", "weights", "wording", "workdir"},
        None,
    ),
    "studies": (
        {"config", "config_files", "data", "experiment", "files", "json_files", "key_groups"}
        | {"keys", "model", "report", "run", "settings", "training", "weights", "workdir"},
        None,
    ),
    "command": ({"data.decoding", "training.memory", "wording"}, {"tqdm"}),
    "flags": ({"config", "config_files", "configs", "keys", "paths"}, None),
    "photos": ({"command", "data", "paths"}, set()),
    "library": (
        {"config", "config_files", "configs", "experiment", "inference", "paths", "run"},
        None,
    ),
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
    if room(path) not in ("config", "keys", "experiment", "flags", "library", *COMMANDS):
        found |= outside(path) & {"ml_collections"}
    return found


def test_imports_follow_the_arrows():
    assert not broken(astray, MODULES)


def arrows(text: str) -> list[tuple[str, str]]:
    """The pairs of rooms of a sketch such as "a, b -> c -> d      e -> f"."""
    chains = [chain.split(" -> ") for chain in re.split(r"\n| {3,}", text)]
    pairs = [pair for chain in chains for pair in itertools.pairwise(chain)]
    return [(x, y) for left, right in pairs for x in left.split(", ") for y in right.split(", ")]


def test_the_sketch_of_the_arrows_is_true():
    text = WRITTEN[ROOT / "ARCHITECTURE.md"].partition("## Who imports whom\n```\n")[2]
    assert len(found := arrows(text.partition("\n```")[0])) > 10
    assert not [(room, other) for room, other in found if other not in ROOMS[room][0]]
    assert arrows("a, b -> c -> d   e -> f") == [("a", "c"), ("b", "c"), ("c", "d"), ("e", "f")]


def packed(path: Path) -> list[str]:
    """The tuples that are assigned at once though no value needs what another replaces."""
    found = []
    for node in ast.walk(TREES[path]):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                names = [ast.unparse(target) for target in targets]
                read = {ast.unparse(x) for value in values for x in ast.walk(value)}
                if len(names) == len(values) and read.isdisjoint(names):
                    found.append(ast.unparse(node))
    return found


def test_a_statement_assigns_one_thing():
    assert not broken(packed)


def not_for_configs(path: Path) -> set[str]:
    """What a configuration imports beside the base; studies know recipes and each other, too."""
    studies = ("aftrans_jax.configs", "aftrans_jax.studies.definition")
    known = ("aftrans_jax.config", *(studies if path.parent.name == "studies" else ()))
    return {name for name in own(path) if not within(name, *known)} | outside(path)


def test_configs_know_the_base_alone():
    assert not broken(not_for_configs, CONFIGS)


def test_the_rules_of_files_can_fail(monkeypatch):
    path = PACKAGE / "model" / "bad.py"
    source = "import sklearn\nfrom aftrans_jax.data import x\n" + "1\n" * 298
    source += "a, b = 1, 2\na, b = b, a\n"
    monkeypatch.setitem(TEXTS, path, source)
    monkeypatch.setitem(TREES, path, ast.parse(source))
    assert too_long(path) == 302
    assert astray(path) == {"sklearn", "aftrans_jax.data.x"}
    assert packed(path) == ["a, b = (1, 2)"]
    assert broken(too_long, [path]) == {"aftrans_jax/model/bad.py": 302}


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
from aftrans_jax.data.decoding.decode import decode_image
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
