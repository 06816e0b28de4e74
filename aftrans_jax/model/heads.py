"""Heads that a model may predict from; imports nothing, so that flags are parsed at once."""

BRANCHES = ("global", "local")
SUM = "sum"  # of both branches' logits
HEADS = (*BRANCHES, SUM)  # in the order in which they are shown
