"""Registration methods behind one door: samreg and the tools that people use instead, one module each."""

from samreg.lab.peers.base import Method, MethodOutput
from samreg.lab.peers.registry import load_method, method_names, missing_methods

__all__ = ["Method", "MethodOutput", "load_method", "method_names", "missing_methods"]
