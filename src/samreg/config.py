"""Every setting, with its default: frozen dataclasses that check themselves, and the presets made of them.

The command line is generated from these classes: a field `max_rois` is the option `--max-rois`, and the docstring under
it is its help. No two fields have the same name, so that no two options have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

from samreg import plugins
from samreg.errors import ConfigError, check_choice, check_device, check_flag, check_number, check_numbers, check_text

__all__ = [
    "ElasticConfig",
    "FitConfig",
    "FlowConfig",
    "MatchConfig",
    "PresetName",
    "ProposalConfig",
    "RegisterConfig",
    "SegmentConfig",
    "SliceConfig",
    "chosen",
    "describe",
    "known_assignments",
    "known_losses",
    "known_mask_rules",
    "known_presets",
    "known_similarities",
    "known_transforms",
    "nearest_preset",
    "preset",
]

PresetName = Literal["default", "fast", "regions", "paper"]
_TRANSFORMS = ("ddf", "ffd", "svf", "affine", "rigid", "none")
_SIMILARITIES = ("lncc",)
_Assignment = Literal["prompted", "mutual", "greedy"]
_MaskRules = Literal["samreg", "fast", "paper", "code"]
_Loss = Literal["samreg", "paper", "code"]


def known_transforms() -> tuple[str, ...]:
    """Names that `FitConfig.transform` may have: those of samreg, and solvers of other packages."""
    return (*_TRANSFORMS, *plugins.names("solvers"))


def known_similarities() -> tuple[str, ...]:
    """Names that `FitConfig.similarity` may have: that of samreg, and terms of other packages."""
    return (*_SIMILARITIES, *plugins.names("terms"))


def known_assignments() -> tuple[str, ...]:
    """Names that `MatchConfig.method` may have."""
    return get_args(_Assignment)


def known_mask_rules() -> tuple[str, ...]:
    """Names that `ProposalConfig.mask_rules` may have."""
    return get_args(_MaskRules)


def known_losses() -> tuple[str, ...]:
    """Names that `ElasticConfig.loss` may have."""
    return get_args(_Loss)


def known_presets() -> tuple[str, ...]:
    """Names that `preset` knows."""
    return get_args(PresetName)


@dataclass(frozen=True)
class SliceConfig:
    """What looks at an image, and how the image is cut into slices for it."""

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
    hounsfield: Literal["auto", "yes", "no"] = "auto"
    """Show CT in Hounsfield units in the soft-tissue window, -160 to 240 HU; auto looks at the range of values."""

    def __post_init__(self) -> None:
        check_text(self, "segmenter")
        check_choice(self, "engine", ("auto", "torch", "openvino"))
        check_device(self)
        check_choice(self, "precision", ("auto", "float32", "bfloat16", "float16"))
        check_choice(self, "slice_axis", ("auto", "0", "1", "2"))
        check_choice(self, "hounsfield", ("auto", "yes", "no"))


@dataclass(frozen=True)
class ProposalConfig:
    """Everything mode on one slice: which masks stay."""

    mask_rules: _MaskRules = "samreg"
    """How prompts are placed, and which masks are too unsure or too alike: by samreg, by samreg with few prompts on
    fewer slices (fast), as in the paper (SAM's automatic mask generator), or as in the paper's released code (overlap
    0.9, slices of 200 x 200 pixels)."""
    min_quality: float = 0.5
    """Predicted IoU below which a mask is dropped."""
    areas: tuple[float, float] = (0.0008, 0.25)
    """Smallest and largest ROI, as shares of the slice (paper: 200 and 7000 of 200 x 200 pixels, 0.005 and 0.175)."""
    max_rois: int = 40
    """At most so many ROIs a slice, best quality first; 0 is no limit."""

    def __post_init__(self) -> None:
        check_choice(self, "mask_rules", known_mask_rules())
        check_number(self, "min_quality", 0, 1)
        check_numbers(self, "areas", 0, 1, length=2)
        if self.areas[0] >= self.areas[1]:
            raise ConfigError(f"areas (--areas) is {self.areas}: give the smallest and the largest area, in that order")
        check_number(self, "max_rois", 0, whole=True)


@dataclass(frozen=True)
class SegmentConfig(SliceConfig):
    """One image to regions."""

    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    """Everything mode."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_part(self, "proposals", ProposalConfig)

    def decisive(self) -> dict[str, Any]:
        """The settings that decide which regions are found, by name: what a cache keys on.

        Not among them are `segmenter`, for which the name and the weights of the loaded one are the key, and `device`.
        The arithmetic is that of `engine` and `precision`; with the same ones two devices differ by rounding alone.
        Where these are auto, each device takes what it is good at, and auto accepts what any of them found; name one to
        have that one.
        """
        return {name: value for name, value in asdict(self).items() if name not in ("segmenter", "device")}


@dataclass(frozen=True)
class MatchConfig:
    """Regions to pairs."""

    lift: Literal["auto", "link", "slices"] = "auto"
    """3D: pair linked 3D ROIs, or ROIs slice by slice; auto keeps slices where both images are the same thick stack and
    links elsewhere; 3D ROIs ask for their counterparts where link is named, or pairs alone drive the fit."""
    method: _Assignment = "prompted"
    """Greedy one-to-one by similarity (the paper), mutual nearest neighbours, or prompted: mutual ones first, then each
    region without one asks the other image for its counterpart."""
    epsilon: float = 0.8
    """Cosine similarity below which two ROIs do not correspond."""
    max_pairs: int = 0
    """Keep the K most similar pairs; 0 keeps all."""
    verify: bool = True
    """Reject pairs that contradict the geometry of the others; --no-verify keeps them."""

    def __post_init__(self) -> None:
        check_choice(self, "lift", ("auto", "link", "slices"))
        check_choice(self, "method", known_assignments())
        check_number(self, "epsilon", -1, 1)
        check_number(self, "max_pairs", 0, whole=True)
        check_flag(self, "verify")


@dataclass(frozen=True)
class FlowConfig:
    """The greedy flow of a ddf along grey values, whose own weight is 1."""

    flow_roi_weight: float = 4.5
    """Weight of the region term in the flow; after its first level, of regions only those that were given."""
    flow_feature_weight: float = 4.5
    """Weight of the similarity of the segmenter's embeddings in the flow."""
    flow_iterations: tuple[int, ...] = (40, 40, 30)
    """Steps of the flow at most at each level, coarse to fine; levels beyond take the last number."""

    def __post_init__(self) -> None:
        for name in ("flow_roi_weight", "flow_feature_weight"):
            check_number(self, name, 0)
        check_numbers(self, "flow_iterations", 0, whole=True)


@dataclass(frozen=True)
class ElasticConfig:
    """Elastic levels: they fit an ffd or svf, and bring two people near each other before the flow of a ddf."""

    roi_weight: float = 0.3
    """Weight of equation (2)'s region term at elastic levels: the mean over pairs of MSE + Dice."""
    similarity_weight: float = 1.0
    """Weight of the local grey-value similarity (LNCC) at elastic levels."""
    feature_weight: float = 0.3
    """Weight of the similarity of the segmenter's embeddings at elastic levels."""
    smoothness: float = 0.1
    """lambda, weight of the mean squared gradient of the displacement in world units, at elastic levels."""
    loss: _Loss = "samreg"
    """The paper's objective with a penalty on folds, the paper's own, or that of its released code: Dice and a tenth of
    cross-entropy, bending energy."""
    control: tuple[float, ...] = (8.0, 4.0)
    """Distance of control points at each elastic level, in working voxels."""
    max_iterations: int = 60
    """Optimiser steps of an elastic level at most; the fit stops earlier on its own."""

    def __post_init__(self) -> None:
        for name in ("roi_weight", "similarity_weight", "feature_weight", "smoothness"):
            check_number(self, name, 0)
        check_choice(self, "loss", known_losses())
        check_numbers(self, "control", 1)
        check_number(self, "max_iterations", 0, whole=True)

    @property
    def regions_alone(self) -> bool:
        """Whether neither grey values nor embeddings have a weight."""
        return self.similarity_weight == 0 and self.feature_weight == 0


@dataclass(frozen=True)
class FitConfig:
    """Pairs to a transform."""

    transform: str = "ddf"
    """ddf (dense field, by a flow), ffd or svf (control grid, stationary velocity, by elastic levels), affine or rigid
    alone, none (pairs only), or the name of a solver of another package."""
    similarity: str = "lncc"
    """What compares grey values: lncc, or the name of a term of another package."""
    stiffness: float = 1.0
    """How much a dense field resists bending and stretching: 2 is stiffer, 0.5 softer."""
    work_size: int = 128
    """Working voxels along the longest axis at elastic levels, and the least at the last level of the flow, which
    begins at about a quarter of them."""
    flow: FlowConfig = field(default_factory=FlowConfig)
    """The flow of a ddf."""
    elastic: ElasticConfig = field(default_factory=ElasticConfig)
    """Elastic levels."""

    def __post_init__(self) -> None:
        if self.transform not in _TRANSFORMS:  # names of other packages are looked up only where they are needed
            check_choice(self, "transform", known_transforms())
        if self.similarity not in _SIMILARITIES:
            check_choice(self, "similarity", known_similarities())
        check_number(self, "stiffness", 0)
        check_number(self, "work_size", 8, whole=True)
        _check_part(self, "flow", FlowConfig)
        _check_part(self, "elastic", ElasticConfig)
        if self.transform in ("ffd", "svf") and self.elastic.roi_weight == 0 and self.elastic.regions_alone:
            raise ConfigError(
                f"roi_weight, similarity_weight and feature_weight are all 0: nothing drives a {self.transform}; "
                "give one of --roi-weight, --similarity-weight and --feature-weight a weight"
            )

    @property
    def is_dense(self) -> bool:
        """Whether the transform has a displacement of its own at every place."""
        return self.transform not in ("affine", "rigid", "none")

    @property
    def regions_alone(self) -> bool:
        """Whether pairs alone drive the fit, as in equation (2): then no search over the embeddings starts it."""
        return self.transform != "ddf" and self.elastic.regions_alone


@dataclass(frozen=True)
class RegisterConfig:
    """The whole registration.

    Args:
        segment: how regions are found in each image.
        match: how regions are paired.
        fit: the transform, and what drives it.
    """

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


_EQUATION_2 = FitConfig(
    transform="ffd",
    work_size=256,
    elastic=ElasticConfig(
        roi_weight=1.0,
        similarity_weight=0.0,
        feature_weight=0.0,
        control=(8.0, 4.0, 2.0),
        max_iterations=50,
    ),
)
"""Where regions alone drive the field, their outlines are all there is: fine voxels, sharp edges, close control points
reach a lower loss than 10,000 steps of Adam at every pixel (`benchmarks/fit.py`)."""


def preset(name: str) -> RegisterConfig:
    """A named set of settings.

    `default`; `fast` (few prompts on fewer slices, and fewer steps); `regions` (equation (2) alone: pairs drive the
    field, no grey values, no search); `paper` (the published algorithm).

    Raises:
        ConfigError: if there is no such preset.
    """
    base = RegisterConfig()
    if name == "default":
        return base
    if name == "regions":
        return replace(base, fit=replace(_EQUATION_2, elastic=replace(_EQUATION_2.elastic, smoothness=0.01)))
    if name == "fast":
        fit = replace(base.fit, flow=FlowConfig(flow_iterations=(20, 20, 15)), elastic=ElasticConfig(max_iterations=25))
        proposals = ProposalConfig(mask_rules="fast", max_rois=10)
        segment = replace(base.segment, proposals=proposals)
        return replace(base, segment=segment, match=replace(base.match, method="mutual"), fit=fit)
    if name == "paper":
        return RegisterConfig(
            segment=SegmentConfig(
                segmenter="facebook/sam-vit-huge",
                proposals=ProposalConfig(
                    mask_rules="paper", min_quality=0.9, areas=(200 / 200**2, 7000 / 200**2), max_rois=0
                ),
            ),
            match=MatchConfig(lift="slices", method="greedy", epsilon=0.8, verify=False),
            fit=replace(_EQUATION_2, elastic=replace(_EQUATION_2.elastic, loss="paper")),
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
    here = dict(_flat(config))
    found = []
    for name in known_presets():
        there = dict(_flat(preset(name)))
        found.append((name, {key: value for key, value in here.items() if value != there[key]}))
    return min(found, key=lambda row: len(row[1]))


def describe(config: RegisterConfig) -> str:
    """The settings in words: the nearest preset, and what differs: `preset default, with match.epsilon = 0.6`."""
    name, changes = nearest_preset(config)
    text = ", ".join(f"{key} = {value}" for key, value in changes.items())
    return f"preset {name}, with {text}" if text else f"preset {name}"


def _flat(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and value of every setting."""
    for part in fields(settings):
        value = getattr(settings, part.name)
        if is_dataclass(value):
            yield from _flat(value, f"{prefix}{part.name}.")
        else:
            yield prefix + part.name, value
