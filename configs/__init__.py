"""The configurations; the installed package has them as `aftrans_jax.configs`."""
