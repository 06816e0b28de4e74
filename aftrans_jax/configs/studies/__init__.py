"""Tells setuptools of this package, which `configs/studies/` is, in the checkout and the wheel."""
