"""A folder of a published dataset goes in, and its standard pairs, as files, come out."""

from samreg.lab.datasets.registry import dataset_names, open_dataset

__all__ = ["dataset_names", "open_dataset"]
