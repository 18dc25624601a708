"""A fixed and a moving image go in, and a field comes out: of samreg, or of a tool that people use instead."""

from samreg.lab.peers.base import Method, MethodOutput
from samreg.lab.peers.registry import load_method, method_names, missing_methods

__all__ = ["Method", "MethodOutput", "load_method", "method_names", "missing_methods"]
