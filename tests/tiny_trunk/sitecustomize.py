"""Two narrow layers in the place of the built-in trunk, in commands that find this folder.

Python imports this file when it starts with the folder on PYTHONPATH: how a test makes the commands
small that other programs start.
"""

import sys

if {"aftrans_jax.main", "aftrans_jax.predict"} & set(sys.orig_argv):
    from experiments import tiny_variants

    tiny = tiny_variants()  # kept: it is undone with the object
    tiny.__enter__()
