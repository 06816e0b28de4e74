"""From a configuration to results: its checks, the parts of a run, the run and what it leaves."""
