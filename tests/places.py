"""Where things are: the checkout, and the real photos, weights and lists where there are any."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "real"
