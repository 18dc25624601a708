"""Networks of the SAM family: tensors of weights go in, and a segmenter that encodes slices and answers prompts comes
out.
"""
