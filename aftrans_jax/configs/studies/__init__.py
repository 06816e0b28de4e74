"""The studies, which the checkout keeps in `configs/studies/` and the wheel holds here."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[3] / "configs" / "studies")]
