"""The fault drivers of files that are read, each with a small count."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("driver", "count"), [("images", 60), ("lists", 40), ("npz", 80)])
def test_damage_is_named_or_does_not_matter(tmp_path, driver, count):
    program = [sys.executable, str(Path(__file__).with_name(f"{driver}.py"))]
    done = subprocess.run(
        [*program, f"--count={count}", f"--out={tmp_path / 'table.json'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    kinds = json.loads((tmp_path / "table.json").read_text())[driver]["kinds"].values()
    assert sum(row["tried"] for row in kinds) == count
