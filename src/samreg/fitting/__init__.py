"""Pairs, features and grey values to a transform: affine, discrete search, dense refinement."""
