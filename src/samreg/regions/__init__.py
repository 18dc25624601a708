"""Step 1: an image and a segmenter go in, and its `Regions` (ROIs, prototypes, embedding) come out."""
