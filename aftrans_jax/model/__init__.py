"""The models: pure JAX and Flax Linen, no files, no configuration."""
