"""A working directory: what a run records there, and what may change when it resumes."""
