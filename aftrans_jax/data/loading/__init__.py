"""From image files to batches: decoding, resizing, augmentation, cache, loader."""
