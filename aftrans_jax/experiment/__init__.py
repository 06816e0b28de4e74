"""Everything that knows a configuration: checks, the parts of a run, the run, its directory."""
