"""Every setting, with its default: frozen dataclasses, and the presets made of them.

The command line is generated from these classes; the docstrings under the fields are its help.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

from samreg.checking import check_choice, check_device, check_flag, check_number, check_numbers, check_text
from samreg.errors import ConfigError

__all__ = [
    "DENSE",
    "FitConfig",
    "MatchConfig",
    "PresetName",
    "ProposalConfig",
    "RegisterConfig",
    "SegmentConfig",
    "chosen",
    "describe",
    "known_assignments",
    "known_presets",
    "known_transforms",
    "nearest_preset",
    "preset",
]

PresetName = Literal["default", "fast", "regions", "paper"]
_Transform = Literal["ddf", "ffd", "svf", "affine", "rigid", "none"]
_Assignment = Literal["greedy", "mutual", "optimal"]
_Switch = Literal["auto", "yes", "no"]

DENSE = ("ddf", "ffd", "svf")
"""Transforms with a displacement of their own at every place."""


def known_transforms() -> tuple[str, ...]:
    """Names that `FitConfig.transform` may have."""
    return get_args(_Transform)


def known_assignments() -> tuple[str, ...]:
    """Names that `MatchConfig.method` may have."""
    return get_args(_Assignment)


def known_presets() -> tuple[str, ...]:
    """Names that `preset` knows."""
    return get_args(PresetName)


@dataclass(frozen=True)
class ProposalConfig:
    """Everything mode on one slice: which prompts, which masks stay."""

    prompts: Literal["auto", "boxes", "points"] = "auto"
    """Kind of prompts; auto asks the segmenter what it was trained on."""
    box_sizes: tuple[float, ...] = (0.36, 0.22)
    """Sides of the box prompts, as shares of the longer side of the slice."""
    box_overlaps: tuple[float, ...] = (0.5, 0.4)
    """Share by which neighbouring box prompts of each size overlap."""
    component_levels: int = 8
    """Grey levels whose connected components give box prompts of their own; 0 leaves them out."""
    adaptive: bool = True
    """Ask smaller boxes only while fewer than max_rois masks are found, and where no good mask of their size lies."""
    covered_quality: float = 0.8
    """Predicted IoU from which a mask spares smaller box prompts."""
    refine_rounds: int = 1
    """How often to prompt again with each mask's own bounding box."""
    points_per_side: int = 32
    """Point prompts along the longer side of the slice."""
    exact_points: bool = False
    """Point prompts as SAM's automatic mask generator places them: a square grid, background included."""
    crop_layers: int = 0
    """Extra layers of image crops in point mode (SAM's crop_n_layers)."""
    min_quality: float = 0.5
    """Predicted IoU below which a mask is dropped."""
    min_stability: float = 0.0
    """Stability score below which a mask is dropped: IoU of the mask at logit +-offset."""
    stability_offset: float = 1.0
    """Logit offset of the stability score."""
    nms_iou: float = 0.6
    """Mask IoU above which the lower-ranked of two masks is dropped."""
    nms: Literal["mask", "box"] = "mask"
    """What non-maximum suppression compares; box with threshold 0.7 is SAM's generator."""
    max_overlap: float = 1.0
    """Overlap ratio (intersection over the smaller) above which the smaller of two ROIs is dropped; 1 keeps all."""
    min_area: float = 0.0008
    """Smallest ROI, as a share of the slice (paper: 200 of 200 x 200 pixels, 0.005)."""
    max_area: float = 0.25
    """Largest ROI, as a share of the slice (paper: 7000 of 200 x 200 pixels, 0.175)."""
    max_rois: int = 40
    """At most so many ROIs a slice, best quality first; 0 is no limit."""

    def __post_init__(self) -> None:
        check_choice(self, "prompts", ("auto", "boxes", "points"))
        check_choice(self, "nms", ("mask", "box"))
        for name in ("adaptive", "exact_points"):
            check_flag(self, name)
        for name in ("component_levels", "refine_rounds", "crop_layers", "max_rois"):
            check_number(self, name, 0, whole=True)
        check_number(self, "points_per_side", 1, whole=True)
        for name in ("covered_quality", "min_quality", "min_stability", "nms_iou", "max_overlap", "min_area"):
            check_number(self, name, 0, 1)
        check_number(self, "max_area", 0, 1, above=True)
        check_number(self, "stability_offset", 0)
        check_numbers(self, "box_sizes", 0, 1, above=True)
        check_numbers(self, "box_overlaps", 0, 0.95, length=len(self.box_sizes))
        if self.min_area >= self.max_area:
            raise ConfigError(
                f"min_area (--min-area) is {self.min_area:g} and max_area (--max-area) {self.max_area:g}: no ROI fits; "
                "give a smaller --min-area"
            )


@dataclass(frozen=True)
class SegmentConfig:
    """One image to regions."""

    segmenter: str = "litemedsam"
    """litemedsam, a Hugging Face id, a model folder, a .pth checkpoint, or a trained class segmenter."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What computes; auto takes OpenVINO on a CPU where it is installed, torch elsewhere."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the network; auto takes what the device is good at."""
    slice_axis: Literal["auto", "0", "1", "2"] = "auto"
    """Array axis (z, y, x) to slice a volume along; auto takes the coarsest spacing."""
    resize: int = 0
    """Side of the square to which slices are resized for the segmenter (released code: 200); 0 keeps their shape."""
    window: tuple[float, float] = (0.5, 99.5)
    """Percentiles of the foreground that become black and white, over the whole volume."""
    hounsfield: _Switch = "auto"
    """Show CT in Hounsfield units in the soft-tissue window, -160 to 240 HU; auto looks at the range of values."""
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    """Everything mode."""
    lift: Literal["auto", "link", "slices"] = "auto"
    """3D: pair linked 3D ROIs, or ROIs slice by slice; auto keeps slices where both images are the same thick stack."""

    def __post_init__(self) -> None:
        check_text(self, "segmenter")
        check_choice(self, "engine", ("auto", "torch", "openvino"))
        check_device(self)
        check_choice(self, "precision", ("auto", "float32", "bfloat16", "float16"))
        check_choice(self, "slice_axis", ("auto", "0", "1", "2"))
        check_number(self, "resize", 0, whole=True)
        check_numbers(self, "window", 0, 100, length=2)
        if self.window[0] >= self.window[1]:
            raise ConfigError(f"window (--window) is {self.window}: give two percentiles, the lower one first")
        check_choice(self, "hounsfield", get_args(_Switch))
        _check_part(self, "proposals", ProposalConfig)
        check_choice(self, "lift", ("auto", "link", "slices"))


@dataclass(frozen=True)
class MatchConfig:
    """Regions to pairs."""

    method: _Assignment = "mutual"
    """Greedy one-to-one by similarity (the paper), mutual nearest neighbours, or optimal assignment."""
    epsilon: float = 0.8
    """Cosine similarity below which two ROIs do not correspond."""
    max_pairs: int = 0
    """Keep the K most similar pairs; 0 keeps all."""
    centre: bool = False
    """Subtract the mean embedding of both images before comparing."""
    verify: bool = True
    """Reject pairs that contradict the geometry of the others."""

    def __post_init__(self) -> None:
        check_choice(self, "method", known_assignments())
        check_number(self, "epsilon", -1, 1)
        check_number(self, "max_pairs", 0, whole=True)
        check_flag(self, "centre")
        check_flag(self, "verify")


@dataclass(frozen=True)
class FitConfig:
    """Pairs to a transform."""

    transform: _Transform = "ddf"
    """Dense field, control grid, stationary velocity, affine or rigid alone, or pairs only."""
    in_plane: _Switch = "auto"
    """Forbid displacement across slices in the refinement; auto does where slice ROIs alone drive it: they say nothing
    about it."""
    search: bool = True
    """Start the dense fit from a discrete search over the embeddings of the segmenter."""
    roi_weight: float = 0.3
    """Weight of equation (2)'s region term: the mean over pairs of MSE + Dice."""
    mse_weight: float = 1.0
    """Share of the mean squared difference in the region term."""
    dice_weight: float = 1.0
    """Share of 1 - Dice in the region term."""
    cross_entropy_weight: float = 0.0
    """Share of the cross-entropy in the region term (released code: 0.1, with --mse-weight 0)."""
    softness: float = 1.0
    """Standard deviation of the edges of region masks, in working voxels."""
    similarity_weight: float = 1.0
    """Weight of the local grey-value similarity (LNCC); 0 leaves it out."""
    feature_weight: float = 0.3
    """Weight of the similarity of the segmenter's embeddings; 0 leaves it out."""
    lncc_window: int = 9
    """Side of the LNCC window in working voxels, at elastic levels."""
    smoothness: float = 0.1
    """lambda, weight of the mean squared gradient of the displacement in world units."""
    bending: float = 0.0
    """Weight of the mean squared second derivatives in world units (released code, with --smoothness 0)."""
    fold_weight: float = 1.0
    """Weight of the penalty on Jacobian determinants below 0.2."""
    work_size: int = 128
    """Working voxels along the longest axis; each coarser level of the flow has half as many as the next."""
    control: tuple[float, ...] = (8.0, 4.0)
    """Distance of control points at each elastic level, in working voxels."""
    flow: bool = True
    """Fit a ddf by a greedy flow along grey values and embeddings; without it, by elastic levels."""
    flow_window: int = 7
    """Side of the LNCC window in working voxels, for the flow."""
    flow_guidance: float = 15.0
    """How many times more embeddings and regions weigh in the flow than at elastic levels; after its first level, of
    regions only those that were given."""
    flow_smoothing: float = 2.0
    """Standard deviation of the smoothing of each step of the flow, in working voxels."""
    field_smoothing: float = 0.4
    """Standard deviation of the smoothing of the whole displacement after each step of the flow, in working voxels."""
    flow_iterations: tuple[int, ...] = (40, 40, 30)
    """Steps of the flow at most at each level, coarse to fine; the last one has the working size."""
    flow_step: float = 0.5
    """Longest displacement of a step of the flow, in working voxels."""
    max_iterations: int = 60
    """Optimiser steps of an elastic level at most; the fit stops earlier on its own."""
    tolerance: float = 1e-3
    """Relative fall of the loss over twelve steps below which a level has converged."""

    def __post_init__(self) -> None:
        check_choice(self, "transform", known_transforms())
        check_choice(self, "in_plane", get_args(_Switch))
        for name in ("search", "flow"):
            check_flag(self, name)
        for name in (
            *("roi_weight", "mse_weight", "dice_weight", "cross_entropy_weight", "softness", "similarity_weight"),
            *("feature_weight", "smoothness", "bending", "fold_weight", "flow_guidance"),
            *("flow_smoothing", "field_smoothing", "tolerance"),
        ):
            check_number(self, name, 0)
        check_number(self, "flow_step", 0, above=True)
        check_number(self, "max_iterations", 0, whole=True)
        check_number(self, "work_size", 8, whole=True)
        check_numbers(self, "control", 1)
        check_numbers(self, "flow_iterations", 0, whole=True)
        for name in ("lncc_window", "flow_window"):
            check_number(self, name, 3, whole=True)
        if self.transform in DENSE and self.roi_weight == self.similarity_weight == self.feature_weight == 0:
            raise ConfigError(
                f"roi_weight, similarity_weight and feature_weight are all 0: nothing drives a {self.transform}; "
                "give one of --roi-weight, --similarity-weight and --feature-weight a weight"
            )


@dataclass(frozen=True)
class RegisterConfig:
    """The whole registration."""

    segment: SegmentConfig = field(default_factory=SegmentConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        _check_part(self, "segment", SegmentConfig)
        _check_part(self, "match", MatchConfig)
        _check_part(self, "fit", FitConfig)
        check_number(self, "seed", 0, 2**32 - 1, whole=True)


def _check_part(settings: Any, name: str, kind: type) -> None:
    if not isinstance(getattr(settings, name), kind):
        raise ConfigError(f"{name} is {getattr(settings, name)!r}: give a {kind.__name__}")


_EQUATION_2: dict[str, Any] = {"work_size": 256, "softness": 0.5, "control": (8.0, 4.0, 2.0), "max_iterations": 50}
"""Where regions alone drive the field, their outlines are all there is: fine voxels, sharp edges, close control points
reach a lower loss than 10,000 steps of Adam at every pixel (`benchmarks/fit.py`)."""


def preset(name: str) -> RegisterConfig:
    """A named set of settings.

    `default`; `fast` (fewer steps); `regions` (equation (2) alone: pairs drive the field, no grey values, no search);
    `paper` (the published algorithm).

    Raises:
        ConfigError: if there is no such preset.
    """
    if name == "default":
        return RegisterConfig()
    if name == "regions":
        base = RegisterConfig()
        fit = replace(
            base.fit,
            search=False,
            roi_weight=1.0,
            similarity_weight=0.0,
            feature_weight=0.0,
            smoothness=0.01,
            flow=False,
            **_EQUATION_2,
        )
        return replace(base, fit=fit)
    if name == "fast":
        base = RegisterConfig()
        return replace(base, fit=replace(base.fit, max_iterations=25, flow_iterations=(20, 20, 15)))
    if name == "paper":
        return RegisterConfig(
            segment=SegmentConfig(
                segmenter="facebook/sam-vit-huge",
                proposals=ProposalConfig(
                    exact_points=True,
                    min_quality=0.9,
                    min_stability=0.9,
                    nms="box",
                    nms_iou=0.7,
                    max_overlap=0.8,
                    min_area=200 / 200**2,
                    max_area=7000 / 200**2,
                    max_rois=0,
                ),
                lift="slices",
            ),
            match=MatchConfig(method="greedy", epsilon=0.8, verify=False),
            fit=FitConfig(
                transform="ddf",
                search=False,
                roi_weight=1.0,
                similarity_weight=0.0,
                feature_weight=0.0,
                fold_weight=0.0,
                flow=False,
                **_EQUATION_2,
            ),
        )
    raise ConfigError(f"there is no preset {name!r}; choose {', '.join(known_presets())}")


def chosen(config: RegisterConfig | None, name: str | None) -> RegisterConfig:
    """The settings that a caller gave as such or by the name of a preset; the preset `default` without either.

    Raises:
        ConfigError: if both are given, or there is no such preset.
    """
    if config is not None and name is not None:
        raise ConfigError(f"config and preset={name!r} are both given: change settings of preset({name!r}) instead")
    return config if config is not None else preset(name or "default")


def nearest_preset(config: RegisterConfig) -> tuple[str, dict[str, Any]]:
    """The preset that settings are, or are closest to, and the settings that differ from it, by their full names."""
    here = _flat(config)
    found = []
    for name in known_presets():
        there = _flat(preset(name))
        found.append((name, {key: value for key, value in here.items() if value != there[key]}))
    return min(found, key=lambda row: len(row[1]))


def describe(config: RegisterConfig) -> str:
    """The settings in words: the nearest preset, and what differs: `preset default, with match.epsilon = 0.6`."""
    name, changes = nearest_preset(config)
    text = ", ".join(f"{key} = {value}" for key, value in changes.items())
    return f"preset {name}, with {text}" if text else f"preset {name}"


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part in fields(settings):
        value = getattr(settings, part.name)
        out |= _flat(value, f"{prefix}{part.name}.") if is_dataclass(value) else {prefix + part.name: value}
    return out
