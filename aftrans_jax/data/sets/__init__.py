"""One reader for each data set, and how their lists are read, joined and split."""
