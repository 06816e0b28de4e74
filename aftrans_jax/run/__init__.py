"""One run: starting, resuming and evaluating it, and the files that it leaves."""
