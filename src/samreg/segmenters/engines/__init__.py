"""What computes a network: a network and a device go in, and an engine with the same two functions on torch or
OpenVINO comes out.
"""
