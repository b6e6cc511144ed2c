"""Transforms: normalise and augment whole batches on the device. They know no files and keep no state."""
