"""The site of docs/ builds without a warning; its pages name keys, studies and files that exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from named import assert_all_exist
from places import ROOT

import aftrans_jax

PAGES = sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs" / "departures.md"})


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*command, "--config-file", "launch/mkdocs.yml", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_at_most_seven_pages(site):
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) == len(PAGES) <= 7


def test_the_method_s_page_holds_the_list_and_the_code(site):
    page = (site / "method" / "index.html").read_text(encoding="utf-8")
    assert 'id="departures-from-the-paper"' in page
    assert "sacm.head_fusion" in page  # of the list
    assert 'id="aftrans_jax.model.sacm.SACM"' in page


def test_the_library_is_described(site):
    pages = " ".join(path.read_text(encoding="utf-8") for path in site.rglob("index.html"))
    names = {*aftrans_jax.__all__} - {"__version__"}
    names |= {"Classifier.__call__", "Classifier.stream", "Prediction.answers", "Prediction.top"}
    assert not [name for name in names if f'id="aftrans_jax.{name}"' not in pages]


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_pages_name_what_there_is(path):
    assert_all_exist(path.read_text(encoding="utf-8"))


def test_studies_that_are_named_exist():
    text = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "?" in line]
    names = [name for row in rows for name in re.findall(r"`([a-z]\w+)`", row)]
    assert len(names) >= 8
    assert all((ROOT / "configs" / "studies" / f"{name}.py").exists() for name in names)
