"""Where things are: grids, images, regions and displacement fields go in, and world positions, warped images and
Jacobians come out.
"""
