"""Step 2: the embeddings of two images go in, and an affine map with a rough displacement comes out."""
