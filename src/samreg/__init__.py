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
    "DisplacementField": "samreg.field",
    "FeatureVolume": "samreg.regions",
    "Grid": "samreg.grid",
    "Image": "samreg.image",
    "InputError": "samreg.errors",
    "PairedRois": "samreg.rois",
    "RegisterConfig": "samreg.config",
    "Regions": "samreg.regions",
    "RegistrationResult": "samreg.result",
    "Roi": "samreg.rois",
    "RoiSet": "samreg.rois",
    "SamregError": "samreg.errors",
    "load_segmenter": "samreg.segmenters",
    "PromptAnswer": "samreg.prompting",
    "preset": "samreg.config",
    "prompt_pair": "samreg.prompting",
    "read_image": "samreg.io.images",
    "read_run": "samreg.io.run_folder",
    "register": "samreg.registration",
    "register_regions": "samreg.registration",
    "segment": "samreg.registration",
    "write_image": "samreg.io.images",
    "write_run": "samreg.io.run_folder",
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
