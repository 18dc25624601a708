"""Engines that compute a network: a network and a device go in, and an object with `encode` and `decode` comes out,
on torch or OpenVINO.
"""
