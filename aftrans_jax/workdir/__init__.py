"""A working directory: what a run records of itself there, and what may change when it goes on."""
