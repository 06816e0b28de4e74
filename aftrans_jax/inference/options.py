"""How a trained model computes; imports nothing, so that commands parse flags at once."""

BATCH_SIZE = 16
BATCH_SIZE_HELP = f"photos that the device takes at a time; default: {BATCH_SIZE}"
PRECISIONS = ("float32", "bfloat16")
PRECISION_HELP = (
    "of the computation; default: float32. bfloat16 is for GPUs from Ampere on, and rounds answers"
)


def filled(num_photos: int, batch_size: int) -> int:
    """Returns the batch for a number of photos: the given one, or of few the next power of two.

    So few programs are compiled, whatever the number.
    """
    return min(batch_size, 1 << (num_photos - 1).bit_length())
