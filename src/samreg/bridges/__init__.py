"""Images, label maps and fields of other packages in memory: theirs go in, samreg's come out, and the other way round.

    >>> from samreg import bridges
    >>> result = samreg.register(bridges.from_sitk(fixed), bridges.from_nibabel(moving))
    >>> warped = bridges.to_sitk(result.field.warp(result.moving))

| package | image | label map | field |
| --- | --- | --- | --- |
| SimpleITK | `from_sitk` | `labels_from_sitk` | `field_from_sitk` |
| ITK | `from_itk` | `labels_from_itk` | `field_from_itk` |
| nibabel | `from_nibabel` | `labels_from_nibabel` | `field_from_nibabel` |
| numpy | `from_numpy` | `labels_from_numpy` | `field_from_numpy` |
| torch | `from_torch` | `labels_from_torch` | `field_from_torch` |
| MONAI (MetaTensor) | `from_monai` | `labels_from_monai` | `field_from_monai` |

The way back is `to_sitk` and so on for images and fields, `labels_to_sitk` and so on for label maps. A label map is an
integer array and its grid. World coordinates are LPS mm on samreg's side.

Parts of other packages' workflows: `RegisterPaird` and `WarpLabelsd` are transforms of MONAI, `RegisterInterface` and
`WarpInterface` interfaces of nipype, `register_itk` is a function of ITK images.

Each package is imported when its function is called, or its class is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from samreg.bridges.arrays import field_from_numpy, from_numpy, geometry_of, labels_from_numpy, to_numpy
from samreg.bridges.itk_images import (
    field_from_itk,
    from_itk,
    labels_from_itk,
    labels_to_itk,
    register_itk,
    to_itk,
    transform_to_itk,
)
from samreg.bridges.metatensor import field_from_monai, from_monai, labels_from_monai, labels_to_monai, to_monai
from samreg.bridges.nib import field_from_nibabel, from_nibabel, labels_from_nibabel, labels_to_nibabel, to_nibabel
from samreg.bridges.simpleitk import field_from_sitk, from_sitk, labels_from_sitk, labels_to_sitk, to_sitk
from samreg.bridges.tensors import field_from_torch, from_torch, labels_from_torch, labels_to_torch, to_torch

_CLASSES = {
    "RegisterInterface": "samreg.bridges.nipype_interfaces",
    "RegisterPaird": "samreg.bridges.monai_transforms",
    "WarpInterface": "samreg.bridges.nipype_interfaces",
    "WarpLabelsd": "samreg.bridges.monai_transforms",
}
"""Class -> module that defines it; its base class is of a package that not everybody has."""

__all__ = [
    "RegisterInterface",
    "RegisterPaird",
    "WarpInterface",
    "WarpLabelsd",
    "field_from_itk",
    "field_from_monai",
    "field_from_nibabel",
    "field_from_numpy",
    "field_from_sitk",
    "field_from_torch",
    "from_itk",
    "from_monai",
    "from_nibabel",
    "from_numpy",
    "from_sitk",
    "from_torch",
    "geometry_of",
    "labels_from_itk",
    "labels_from_monai",
    "labels_from_nibabel",
    "labels_from_numpy",
    "labels_from_sitk",
    "labels_from_torch",
    "labels_to_itk",
    "labels_to_monai",
    "labels_to_nibabel",
    "labels_to_sitk",
    "labels_to_torch",
    "register_itk",
    "to_itk",
    "to_monai",
    "to_nibabel",
    "to_numpy",
    "to_sitk",
    "to_torch",
    "transform_to_itk",
]


def __getattr__(name: str) -> Any:
    try:
        module = _CLASSES[name]
    except KeyError:
        raise AttributeError(f"module 'samreg.bridges' has no attribute {name!r}") from None
    return getattr(importlib.import_module(module), name)
