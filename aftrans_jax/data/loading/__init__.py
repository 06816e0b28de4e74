"""From pixels to batches: resizing, augmentation, cache, loader."""
