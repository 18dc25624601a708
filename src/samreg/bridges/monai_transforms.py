"""Transforms of MONAI for `Compose`: a pair of images is registered, label maps are carried along; both invertible.

    >>> from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
    >>> from samreg.bridges import RegisterPaird, WarpLabelsd
    >>> keys = ["fixed", "moving", "moving_label"]
    >>> compose = Compose([LoadImaged(keys), EnsureChannelFirstd(keys), RegisterPaird(), WarpLabelsd("moving_label")])
    >>> done = compose({"fixed": "ed.nii.gz", "moving": "es.nii.gz", "moving_label": "es_labels.nii.gz"})
    >>> back = compose.inverse(done)

`done["moving"]` and `done["moving_label"]` lie on the grid of `done["fixed"]`, and their affine says so.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from samreg.bridges.arrays import field_from_numpy, geometry_of, whole_numbers
from samreg.bridges.metatensor import field_from_monai, from_monai, made, meta_grid, read_tensor, to_monai
from samreg.errors import ConfigError, InputError, MissingDependencyError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import Matrix

try:
    from monai.transforms import InvertibleTransform, MapTransform
except ImportError:
    raise MissingDependencyError("monai", "RegisterPaird and WarpLabelsd", "monai") from None

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = ["RegisterPaird", "WarpLabelsd"]

_MATRIX = "samreg_affine"  # in the meta of a DDF whose map is affine throughout: its matrix, fixed to moving world
_GEOMETRY = ("affine", "original_affine", "spatial_shape", "space", "pixdim", "qform_code", "sform_code")


class RegisterPaird(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Register a pair of images and bring the moving one onto the grid of the fixed one.

    The moving image is replaced; the displacements are added as a DDF (d, x, y, z), in voxels of the fixed grid, for
    `WarpLabelsd`. The inverse brings what stands in the place of the moving image, such as a segmentation that was
    found in it, back onto the grid of the moving image, and removes the DDF; `monai.transforms.Invertd` works too.

    Args:
        keys: the fixed and the moving image: MetaTensors (1, x, y, z) or (1, x, y), or RGB.
        field_key: where the DDF goes.
        allow_missing_keys: whether the moving image may be missing on the way back.
        options: those of `samreg.register`: preset, config, segmenter, cache, initial and others.

    Raises:
        ConfigError: if there are not two keys.
    """

    def __init__(
        self,
        keys: Sequence[Hashable] = ("fixed", "moving"),
        field_key: Hashable = "field",
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 2:
            raise ConfigError(f"RegisterPaird wants the key of the fixed and that of the moving image, got {self.keys}")
        self.field_key = field_key
        self.options = options

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Register.

        Raises:
            InputError: if an image is no MetaTensor of one or three channels, or the settings ask for pairs alone.
        """
        from samreg.pipeline import register

        d = dict(data)
        fixed, moving = self.keys
        result = register(from_monai(d[fixed], str(fixed)), from_monai(d[moving], str(moving)), **self.options)
        if result.field is None:
            raise InputError("RegisterPaird warps, and transform=none asks for pairs alone: choose another transform")
        ddf = to_monai(result.field)
        if not str(d[fixed].meta.get("space", "RAS")).endswith("LPS"):
            ddf.meta.update({k: v for k, v in d[fixed].meta.items() if k in _GEOMETRY and k != "affine"})
        affine_throughout = result.affine is not None and not result.config.fit.is_dense
        if affine_throughout:
            ddf.meta[_MATRIX] = np.asarray(result.affine)
        d[moving] = _carried(self, d[moving], ddf, "bilinear")
        d[self.field_key] = ddf
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring what stands in the place of the moving image back onto its grid."""
        d = dict(data)
        moving = self.keys[1]
        if moving in d or not self.allow_missing_keys:
            d[moving] = _carried_back(self, d[moving])
        d.pop(self.field_key, None)
        return d


class WarpLabelsd(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Carry label maps of the moving image onto the grid of the fixed one: each label by its largest share.

    The inverse carries them, or what was predicted in their place, back in the same way.

    Args:
        keys: label maps of whole numbers, MetaTensors (channels, x, y, z), each channel a map of its own; on any grid
            of the moving image's world.
        field_key: where `RegisterPaird` put the DDF.
        allow_missing_keys: whether keys may be missing.
    """

    def __init__(
        self, keys: Hashable | Sequence[Hashable], field_key: Hashable = "field", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.field_key = field_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Carry.

        Raises:
            InputError: if there is no DDF, or a value is not a whole number.
        """
        d = dict(data)
        if self.field_key not in d:
            raise InputError(f"WarpLabelsd finds no {self.field_key!r}: put RegisterPaird before it")
        for key in self.key_iterator(d):
            whole_numbers(read_tensor(d[key], str(key))[0], str(key))
            d[key] = _carried(self, d[key], d[self.field_key], "nearest")
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Carry back onto the grids that the label maps came from."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = _carried_back(self, d[key])
        return d


def _carried(
    transform: InvertibleTransform, tensor: MetaTensor, ddf: MetaTensor, mode: Literal["bilinear", "nearest"]
) -> MetaTensor:
    """A tensor of the moving image on the fixed grid; what the way back needs is kept with it, as MONAI wants it."""
    values, grid = read_tensor(tensor)
    field = field_from_monai(ddf)
    out = made(_warped(values, grid, field, mode), field.grid, _others(tensor))
    out.meta.update({k: v for k, v in ddf.meta.items() if k in _GEOMETRY and k != "affine"})
    out.applied_operations = list(tensor.applied_operations)
    # Numbers and arrays only, so that a batch can be made of it; arrays are shared, not copied, between tensors.
    extra = {
        "mode": mode,
        "u": field.u,
        "geometry": np.concatenate([np.ravel(part) for part in geometry_of(field.grid)]),
        "matrix": np.asarray(ddf.meta.get(_MATRIX, np.zeros(0))),
        "src_affine": np.asarray(tensor.affine.cpu(), dtype=float),
        "src_meta": {k: v for k, v in tensor.meta.items() if k in _GEOMETRY and k != "affine"},
    }
    transform.push_transform(out, orig_size=tuple(tensor.shape[1:]), extra_info=extra)
    return _as_type_of(out, tensor)


def _carried_back(transform: InvertibleTransform, tensor: MetaTensor) -> MetaTensor:
    """A tensor on the grid from which it, or that in whose place it stands, came."""
    record = transform.pop_transform(tensor)
    extra = record["extra_info"]
    d = extra["u"].shape[-1]
    spacing, origin, direction = np.split(np.asarray(extra["geometry"], dtype=float), [d, 2 * d])
    fixed = field_from_numpy(extra["u"], spacing.tolist(), origin.tolist(), direction.reshape(d, d).tolist())
    about = extra["src_meta"]
    size = [int(n) for n in record["orig_size"]]
    moving = meta_grid(np.asarray(extra["src_affine"]), size, str(about.get("space", "RAS")))
    matrix: Matrix = np.asarray(extra["matrix"])
    back = DisplacementField.from_matrix(np.linalg.inv(matrix), moving) if matrix.size else fixed.inverse_on(moving)[0]
    values, grid = read_tensor(tensor)
    out = made(_warped(values, grid, back, extra["mode"]), moving, _others(tensor))
    out.meta.update(about)
    out.meta["affine"] = out.meta["affine"].new_tensor(extra["src_affine"])
    out.applied_operations = list(tensor.applied_operations)
    return _as_type_of(out, tensor)


def _as_type_of(out: MetaTensor, tensor: MetaTensor) -> MetaTensor:
    """Values between whole numbers are rounded where the type holds no others."""
    if not tensor.dtype.is_floating_point:
        out = out.round() if out.dtype.is_floating_point else out
    result: MetaTensor = out.to(tensor.device, tensor.dtype)
    return result


def _others(tensor: MetaTensor) -> dict[str, Any]:
    return {k: v for k, v in tensor.meta.items() if k not in _GEOMETRY}


def _warped(values: np.ndarray, grid: Grid, field: DisplacementField, mode: str) -> np.ndarray:
    """Channels `(channels, *grid.shape)` on the grid of the field; `nearest` takes whole numbers for labels."""
    if mode == "nearest" and np.array_equal(values, np.rint(values)):
        return np.stack([field.warp_labels(whole_numbers(channel, "the label map"), grid) for channel in values])
    how: Literal["nearest", "linear"] = "nearest" if mode == "nearest" else "linear"
    images = [Image(channel.astype(np.float32), grid) for channel in values]
    return np.stack([field.warp(image, how).data for image in images])
