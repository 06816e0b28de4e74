"""Numpy, no JAX: `sets` read lists, `loading` makes batches, `doctor` looks at every image."""
