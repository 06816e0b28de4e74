"""Files of vision transformer weights: reading, writing, fitting them to a model."""
