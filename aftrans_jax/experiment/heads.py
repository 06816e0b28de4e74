"""Which logits a model may answer by; imports nothing, so that commands parse flags at once."""

HEADS = ("global", "local", "sum")  # in the order in which they are shown
