"""Data on the host: `sets` reads data sets, `loading` makes batches, `doctor` opens every image."""
