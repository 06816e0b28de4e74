"""One reader for each data set, and what they share: lists, tables of photos, held-out examples."""
