"""From a configuration to the objects of a run; only this package reads configurations."""
