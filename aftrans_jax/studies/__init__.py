"""Studies: rows of changes to a configuration, the runs they mean, and the table of these."""
