"""Heads that a model may predict from; imports nothing, so that flags are parsed at once."""

HEADS = ("global", "local", "sum")  # in the order in which they are shown
