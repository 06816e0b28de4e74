"""Studies: a base configuration and named rows of changes, see `aftrans_jax.study`."""
