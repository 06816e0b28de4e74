"""Measurements of this project's claims: `python -m benchmarks --list`.

`registry.py` lists the claims with their goals, `claims/` measures them, one file each. `harness/`
times, compares and records; `models/` and `pytorch/` are timed. `results/<device>/` holds the
figures: files with "groups" come from `python -m benchmarks.collect`, over runs of several seeds,
and others without "figures" are older than the registry.
"""
