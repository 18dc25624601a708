"""A paragraph for the methods section of a paper, made of what a run did."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from samreg.config import describe
from samreg.result import RegistrationResult

__all__ = ["paragraph"]

_TRANSFORMS = {
    "ddf": "a dense displacement field, by an image-driven flow from coarse to fine",
    "ffd": "a free-form deformation with cubic B-splines",
    "svf": "a stationary velocity field",
    "affine": "an affine map",
    "rigid": "a rigid map",
}
_PAPER = (
    "Huang S, Xu T, Shen Z, Saeed SU, Yan W, Barratt D, Hu Y. One registration is worth two segmentations. MICCAI "
    "2024. arXiv:2405.10879."
)
_SEGMENTERS = {
    "litemedsam": "Ma J, He Y, Li F, Han L, You C, Wang B. Segment anything in medical images. Nature Communications "
    "15:654, 2024. doi:10.1038/s41467-024-44824-z.",
}
_SAM = "Kirillov A, et al. Segment anything. ICCV 2023. arXiv:2304.02643."
_LNCC = (
    "Avants BB, Epstein CL, Grossman M, Gee JC. Symmetric diffeomorphic image registration with cross-correlation. "
    "Medical Image Analysis 12(1):26-41, 2008. doi:10.1016/j.media.2007.06.004."
)


def _what(result: RegistrationResult) -> str:
    if result.prompt is not None:
        return "The counterpart of a region that was prompted in the fixed image was found in the moving image"
    return "The moving image was registered to the fixed image" if result.field is not None else "Regions were paired"


def paragraph(result: RegistrationResult, made: Mapping[str, Any], background: int = 0) -> str:
    """HTML of the paragraph and its references.

    Args:
        result: the registration.
        made: `created` (ISO time) and the versions of the packages, as far as known.
        background: how many pairs with a weight show background.
    """
    fit = result.config.fit
    references = [_PAPER]

    def cite(text: str) -> str:
        if text not in references:
            references.append(text)
        return f"[{references.index(text) + 1}]"

    version = f" {made['samreg']}" if "samreg" in made else ""
    sentences = [
        f"{_what(result)} with samreg{version}, which represents a correspondence as pairs of regions of interest [1]."
    ]
    origins = [origin for origin in result.origins if origin.segmenter]
    if origins and origins[0].segmenter not in ("labels", "none"):
        name = origins[0].segmenter
        sentences.append(
            f"Regions were outlined in both images by the promptable segmentation network {name} "
            f"{cite(_SEGMENTERS.get(name, _SAM))}, without any training by the user, and compared by the cosine "
            "similarity of the mean image embedding under each region."
        )
    if result.field is not None:
        counts = len(result.pairs.used)
        air = f", {background} of them of background" if background else ""
        sentences.append(f"Pairs of regions: {len(result.pairs)}, of which {counts} had a weight in the fit{air}.")
        dense = fit.is_dense and not fit.regions_alone
        text = f"The transform was {_TRANSFORMS.get(fit.transform, fit.transform)}"
        if dense and fit.similarity == "lncc":
            text += f", driven by the pairs and by local normalised cross-correlation {cite(_LNCC)}"
        if result.start is not None and result.start.both_ways:
            text += "; both directions were fitted, and the last level started from the mean of the two"
        sentences.append(text + ".")
    sentences.append(f"Settings: {describe(result.config)}, seed {result.config.seed}.")
    packages = ", ".join(f"{key} {made[key]}" for key in ("python", "torch", "openvino", "SimpleITK") if made.get(key))
    if packages:
        sentences.append(f"Software: {packages}.")
    if made.get("created"):
        sentences.append(f"Computed on {str(made['created'])[:10]}.")
    sentences.append(f"The automatic checks of samreg gave {result.verdict}.")
    listed = "".join(f"<li>{escape(text)}</li>" for text in references)
    return f"<div class='copy' id='methods-text'><p>{escape(' '.join(sentences))}</p><ol>{listed}</ol></div>"
