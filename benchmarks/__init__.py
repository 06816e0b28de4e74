"""Measurements of what this project claims: `python -m benchmarks --list`.

`registry.py` lists the claims with their goals, `claims/` measures them, one file each. `harness/`
times, compares and records; `models/` and `pytorch/` are what is timed. `results/<device>/` holds
the figures: files with "groups" come from `python -m benchmarks.collect`, over runs of several
seeds, and others without "figures" are from before there was a registry.
"""
