"""Datasets in the layouts in which people download them, one module each, behind `open_dataset`."""

from samreg.lab.datasets.base import PairRecord
from samreg.lab.datasets.registry import dataset_names, open_dataset

__all__ = ["PairRecord", "dataset_names", "open_dataset"]
