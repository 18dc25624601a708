"""Trainable networks: what they are, how they see an image, how they are kept in a file, what they predict."""
