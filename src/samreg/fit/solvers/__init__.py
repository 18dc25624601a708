"""Ways to minimise the objective: an objective and a start go in, and a better displacement comes out; a file a
solver.
"""
