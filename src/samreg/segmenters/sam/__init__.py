"""Networks of the SAM family: weights by name go in, and a torch network that encodes images and decodes prompts comes
out.
"""
