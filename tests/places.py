"""Where things are: the checkout, and the real photos, weights and lists where there are any."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "real"
# PYTHONPATH of commands whose trunk is tiny, see tiny_trunk/sitecustomize.py.
TINY_PATH = os.pathsep.join(map(str, (ROOT / "tests" / "tiny_trunk", ROOT, ROOT / "tests")))
