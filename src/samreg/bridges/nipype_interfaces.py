"""Interfaces of nipype to `samreg register` and `samreg warp`.

    >>> from samreg.bridges import RegisterInterface, WarpInterface
    >>> register = RegisterInterface(fixed="ed.nii.gz", moving="es.nii.gz", out_dir="run")
    >>> register.cmdline
    'samreg register ed.nii.gz es.nii.gz --out run'

In a workflow the output `out_dir` of the first goes into the input `run_dir` of the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samreg.errors import MissingDependencyError

try:
    from nipype.interfaces.base import CommandLine, CommandLineInputSpec, Directory, File, TraitedSpec, traits
except ImportError:
    raise MissingDependencyError("nipype", "RegisterInterface and WarpInterface", "nipype") from None

__all__ = ["RegisterInterface", "WarpInterface"]

_FILES = {
    "transform": "transform.h5",
    "inverse_transform": "inverse_transform.h5",
    "displacement": "displacement.nii.gz",
    "inverse_displacement": "inverse_displacement.nii.gz",
    "warped": "warped.nii.gz",
    "fixed_rois": "fixed_rois.seg.nrrd",
    "moving_rois": "moving_rois.seg.nrrd",
    "pairs": "pairs.json",
    "report": "report.html",
    "manifest": "manifest.json",
}


class _RegisterInput(CommandLineInputSpec):  # type: ignore[misc]
    fixed = traits.Either(
        File(exists=True), Directory(exists=True), argstr="%s", position=0, mandatory=True, desc="the image that stays"
    )
    moving = traits.Either(
        File(exists=True), Directory(exists=True), argstr="%s", position=1, mandatory=True, desc="is brought onto it"
    )
    out_dir = Directory("run", usedefault=True, argstr="--out %s", position=2, desc="folder for the result")
    preset = traits.Enum("default", "fast", "regions", "paper", argstr="--preset %s", desc="settings to start from")
    transform = traits.Str(argstr="--transform %s", desc="ddf, ffd, svf, affine, rigid")
    segmenter = traits.Str(argstr="--segmenter %s", desc="what finds the regions")
    fixed_labels = File(exists=True, argstr="--fixed-labels %s", desc="known regions of the fixed image")
    moving_labels = File(exists=True, argstr="--moving-labels %s", desc="known regions of the moving image")
    labels_only = traits.Bool(argstr="--labels-only", desc="run no segmenter")
    initial = traits.Either(File(exists=True), Directory(exists=True), argstr="--initial %s", desc="to start from")
    overwrite = traits.Bool(argstr="--overwrite", desc="replace an older run")


class _RegisterOutput(TraitedSpec):  # type: ignore[misc]
    out_dir = Directory(exists=True, desc="the run folder")
    transform = File(desc="fixed to moving, composite transform of ITK")
    inverse_transform = File(desc="moving to fixed")
    displacement = File(desc="the same as a field on the fixed grid, LPS mm")
    inverse_displacement = File(desc="the same on the moving grid")
    warped = File(desc="the moving image on the fixed grid")
    fixed_rois = File(desc="regions of the fixed image")
    moving_rois = File(desc="regions of the moving image, of the same names")
    pairs = File(desc="a row a pair")
    report = File(desc="a page to look at")
    manifest = File(desc="settings, verdict, checks")


class RegisterInterface(CommandLine):  # type: ignore[misc]
    """`samreg register`; other options go into the input `args`."""

    _cmd = "samreg register"
    input_spec = _RegisterInput
    output_spec = _RegisterOutput

    def _list_outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = self.output_spec().get()
        folder = Path(self.inputs.out_dir).absolute()
        outputs["out_dir"] = str(folder)
        # A run of pairs alone has no transform, one with --no-inverse no inverse.
        outputs.update({name: str(folder / file) for name, file in _FILES.items() if (folder / file).is_file()})
        return outputs


class _WarpInput(CommandLineInputSpec):  # type: ignore[misc]
    image = traits.Either(
        File(exists=True), Directory(exists=True), argstr="%s", position=0, mandatory=True, desc="what to carry along"
    )
    run_dir = Directory(exists=True, argstr="--run %s", position=1, mandatory=True, desc="folder of samreg register")
    out_file = File(argstr="--out %s", position=2, mandatory=True, desc="file to write; its ending is its format")
    inverse = traits.Bool(argstr="--inverse", desc="from the fixed image onto the moving grid")
    interpolation = traits.Str(argstr="--interpolation %s", desc="auto, linear, nearest, label")
    overwrite = traits.Bool(argstr="--overwrite", desc="replace the file")


class _WarpOutput(TraitedSpec):  # type: ignore[misc]
    out_file = File(exists=True, desc="the file that was written")


class WarpInterface(CommandLine):  # type: ignore[misc]
    """`samreg warp`; other options go into the input `args`."""

    _cmd = "samreg warp"
    input_spec = _WarpInput
    output_spec = _WarpOutput

    def _list_outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = self.output_spec().get()
        outputs["out_file"] = str(Path(self.inputs.out_file).absolute())
        return outputs
