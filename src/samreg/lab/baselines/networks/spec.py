"""NetworkSpec: everything that is needed to build a network and to show it an image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from samreg.errors import ConfigError

__all__ = ["REGISTRATION", "SEGMENTATION", "Architecture", "NetworkSpec"]

Architecture = Literal["voxelmorph", "labelreg", "vnet", "fct", "mednext"]
"""The two registration networks of the paper's Table 1, and the three segmentation networks of its Table 2."""

REGISTRATION: tuple[Architecture, ...] = ("voxelmorph", "labelreg")
SEGMENTATION: tuple[Architecture, ...] = ("vnet", "fct", "mednext")

_MULTIPLE = {"voxelmorph": 32, "labelreg": 16, "vnet": 16, "fct": 32, "mednext": 16}
_DEFAULT_WIDTH = {"voxelmorph": 16, "labelreg": 16, "vnet": 16, "fct": 16, "mednext": 16}


@dataclass(frozen=True)
class NetworkSpec:
    """A network, and the lattice on which it sees an image.

    A 2D network reads a volume slice by slice, along the axis of the coarsest spacing; the slices stay where they are.

    Args:
        architecture: one of the five.
        dims: 2 or 3.
        shape: size of the network's view in array order, (y, x) or (z, y, x); centred on the image.
        spacing: millimetres a pixel of that view, array order.
        n_classes: foreground classes of a segmentation network; 0 for a registration network.
        width: channels of the first level; 0 takes the architecture's default. V-Net is 16 wide by definition.

    Raises:
        ConfigError: if the numbers do not fit the architecture.
    """

    architecture: Architecture
    dims: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    n_classes: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing))
        if self.architecture not in get_args(Architecture):
            raise ConfigError(
                f"there is no architecture {self.architecture!r}; choose {', '.join(get_args(Architecture))}"
            )
        if self.dims not in (2, 3) or len(self.shape) != self.dims or len(self.spacing) != self.dims:
            raise ConfigError(
                f"a {self.dims}D network wants {self.dims} numbers for shape and spacing, got {self.shape} "
                f"and {self.spacing}"
            )
        if any(s <= 0 for s in self.spacing):
            raise ConfigError(f"the spacing of a network's view must be positive, got {self.spacing}")
        self.check_size(self.shape, "shape")
        object.__setattr__(self, "width", self.width or _DEFAULT_WIDTH[self.architecture])
        if self.architecture == "vnet" and self.width != 16:
            raise ConfigError(f"V-Net has 16 channels at its first level, got width {self.width}; leave it at 0")
        if (self.n_classes > 0) != (self.architecture in SEGMENTATION):
            raise ConfigError(
                f"{self.architecture} {'needs classes' if self.architecture in SEGMENTATION else 'has no classes'}, "
                f"got n_classes={self.n_classes}"
            )

    def check_size(self, size: tuple[int, ...], what: str) -> None:
        """Refuse a size that the network's poolings do not divide.

        Raises:
            ConfigError: if an axis is not a positive multiple of the network's stride.
        """
        multiple = _MULTIPLE[self.architecture]
        if len(size) != self.dims or any(n < multiple or n % multiple for n in size):
            raise ConfigError(
                f"the {what} of a {self.dims}D {self.architecture} must be {self.dims} multiples of {multiple}, "
                f"got {size}"
            )

    @property
    def is_registration(self) -> bool:
        """Whether it takes two images and gives a displacement field."""
        return self.architecture in REGISTRATION

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**asdict(self), "shape": list(self.shape), "spacing": list(self.spacing)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        """The inverse of `as_dict`."""
        return cls(**{**values, "shape": tuple(values["shape"]), "spacing": tuple(values["spacing"])})
