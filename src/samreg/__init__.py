"""samreg: medical image registration by paired regions, without training data.

Two segmentations, then one registration:

    >>> import samreg
    >>> fixed, moving = samreg.read_image("ed.nii.gz"), samreg.read_image("es.nii.gz")
    >>> result = samreg.register(fixed, moving)
    >>> warped = result.field.warp(moving)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module that defines it; imported on first use, so that `import samreg` stays instant.
_PUBLIC = {
    "DisplacementField": "samreg.geometry.field",
    "FeatureVolume": "samreg.regions.regions",
    "Grid": "samreg.geometry.grid",
    "Image": "samreg.geometry.image",
    "InputError": "samreg.errors",
    "PairedRois": "samreg.geometry.rois",
    "RegisterConfig": "samreg.config",
    "Regions": "samreg.regions.regions",
    "RegistrationResult": "samreg.result",
    "Roi": "samreg.geometry.rois",
    "RoiSet": "samreg.geometry.rois",
    "SamregError": "samreg.errors",
    "fit_run": "samreg.runs.refit",
    "load_segmenter": "samreg.segmenters",
    "PromptAnswer": "samreg.prompt",
    "preset": "samreg.config",
    "prompt_pair": "samreg.prompt",
    "read_image": "samreg.io.images",
    "read_run": "samreg.runs.run_folder",
    "register": "samreg.pipeline",
    "register_regions": "samreg.pipeline",
    "segment": "samreg.pipeline",
    "write_image": "samreg.io.images",
    "write_run": "samreg.runs.run_folder",
}

__all__ = sorted([*_PUBLIC, "__version__"])


def __getattr__(name: str) -> Any:
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'samreg' has no attribute {name!r}") from None
    value = globals()[name] = getattr(importlib.import_module(module), name)
    return value


def __dir__() -> list[str]:
    return __all__
