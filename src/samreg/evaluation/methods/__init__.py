"""Registration methods behind one door: samreg and the tools that people use instead, one module each."""

from samreg.evaluation.methods.base import Method, MethodOutput
from samreg.evaluation.methods.registry import load_method, method_names, missing_methods

__all__ = ["Method", "MethodOutput", "load_method", "method_names", "missing_methods"]
