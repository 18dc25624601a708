"""Images and fields of other packages in memory: theirs go in, samreg's come out, and the other way round.

    >>> from samreg import bridges
    >>> result = samreg.register(bridges.from_sitk(fixed), bridges.from_nibabel(moving))
    >>> warped = bridges.to_sitk(result.field.warp(result.moving))

Each package is imported when its function is called. World coordinates are LPS mm on samreg's side.
"""

from samreg.bridges.arrays import from_numpy
from samreg.bridges.nib import from_nibabel, to_nibabel
from samreg.bridges.simpleitk import field_from_sitk, from_sitk, to_sitk

__all__ = ["field_from_sitk", "from_nibabel", "from_numpy", "from_sitk", "to_nibabel", "to_sitk"]
