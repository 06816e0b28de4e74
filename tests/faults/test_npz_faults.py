"""A few of the faults of `tests/faults/npz.py`; the long run is by hand."""

import json
import os
import subprocess
import sys

from places import ROOT


def test_damaged_npz_files_are_equal_arrays_or_one_named_error(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "tests" / "faults" / "npz.py"),
            *("--count=160", f"--out={tmp_path / 'faults.json'}"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "faults.json").read_text())["npz"]
    assert [row["tried"] for row in rows] == [20] * 8
