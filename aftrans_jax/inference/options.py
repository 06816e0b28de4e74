"""How a trained model computes; imports nothing, so that commands parse flags at once."""

PRECISIONS = ("float32", "bfloat16")
PRECISION_HELP = (
    "of the computation; default: float32. bfloat16 is for GPUs from Ampere on, and rounds answers"
)
