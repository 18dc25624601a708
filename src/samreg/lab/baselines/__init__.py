"""Networks that are trained for comparison: a dataset goes in, and a checkpoint, a method or a segmenter comes out."""
