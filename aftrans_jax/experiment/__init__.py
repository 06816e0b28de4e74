"""From a configuration to the parts of a run: checked, settled, built."""
