"""The configurations, which the checkout keeps in `configs/` at its top and the wheel holds here.

This file lets the checkout import them under the same name; the wheel has none of it.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "configs")]
