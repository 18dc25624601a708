"""Files of weights: a name (a file, a folder, a Hugging Face id) goes in, and the sha256 of its weights, or a network
with these weights, comes out.
"""
