"""Files of weights: a checkpoint, a model folder or a Hugging Face id goes in, and tensors under this project's names
come out.
"""
