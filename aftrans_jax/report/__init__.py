"""Pictures, charts and the page that a run leaves behind: numpy, PIL and Jinja2, no JAX."""
