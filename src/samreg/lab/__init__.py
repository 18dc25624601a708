"""The laboratory of the paper: a dataset goes in, and records, tables and figures of many methods come out. Nothing
outside imports it.
"""
