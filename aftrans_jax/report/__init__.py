"""Pictures, charts and the page that a run leaves behind: numpy and PIL, no JAX."""
