"""How exact is a registration whose truth is known: copies of an image, moved by a map or with other grey values.

    python -m benchmarks.exact --root DATA [--source brain01,ct] [--cases turn-10,half-cut] [--methods samreg,ants]

Prints, for each case and method, the median and the 95th percentile of the error of the field inside the body, in
voxels of the coarser image, and the seconds. `samreg:rigid` and `samreg:affine` are `--transform rigid` and `affine`;
further settings follow as in `samreg benchmark` (`samreg+fit.work_size=256`). `ants` is affine and SyN, `elastix`
affine and B-spline, both with the settings of their packages; other methods are those of `samreg benchmark`. Regions of
samreg come from its cache (SAMREG_CACHE_DIR), so that `s`, which --verbose shows, is the time of a warm pair.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.exact_cases import CASES_2D, CASES_3D, IMAGES_3D, Case, make_case

from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.peers.registry import load_method

Solve = Callable[[Image, Image], tuple[DisplacementField, str]]


def _ants(fixed: Image, moving: Image) -> tuple[DisplacementField, str]:
    import ants
    import SimpleITK as sitk

    from samreg.lab.peers.ants import _to_ants
    from samreg.lab.peers.itk_bridge import after_affine, matrix_of

    found = ants.registration(_to_ants(fixed), _to_ants(moving), type_of_transform="SyN", random_seed=1)[
        "fwdtransforms"
    ]
    u = ants.image_read(found[0]).numpy()
    warp = DisplacementField(np.swapaxes(u, 0, -2) if u.ndim == 3 else u.transpose(2, 1, 0, 3), fixed.grid)
    return after_affine(warp, matrix_of(sitk.ReadTransform(str(found[1])))), ""


def _elastix(fixed: Image, moving: Image) -> tuple[DisplacementField, str]:
    import itk

    from samreg.lab.peers.elastix import _to_itk
    from samreg.lab.peers.itk_bridge import quiet

    parameters = itk.ParameterObject.New()
    for kind in ("affine", "bspline"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(kind))
    a, b = _to_itk(fixed), _to_itk(moving)
    _, found = quiet(itk.elastix_registration_method, a, b, parameter_object=parameters, log_to_console=False)
    # transformix writes files into the current folder unless it is given another.
    with tempfile.TemporaryDirectory(prefix="samreg-elastix-") as folder:
        displacement = quiet(itk.transformix_deformation_field, b, found, log_to_console=False, output_directory=folder)
        u = itk.array_from_image(displacement).astype(np.float32)
    return DisplacementField(u, fixed.grid), ""


def _peer(name: str) -> Solve:
    method = load_method(name)

    def solve(fixed: Image, moving: Image) -> tuple[DisplacementField, str]:
        return method.run(fixed, moving, intra_subject=False, threads=1).field, ""

    return solve


def _samreg(name: str) -> Solve:
    from samreg.lab.peers.samreg_method import config_from_name
    from samreg.pipeline import register_regions, segment
    from samreg.regions.cache import RegionsCache
    from samreg.runs.shared import shared_finder

    for kind in ("rigid", "affine"):
        if name.startswith(f"samreg:{kind}"):
            name = name.replace(f"samreg:{kind}", f"samreg:default+fit.transform={kind}", 1)
    config = config_from_name(name)
    cache = RegionsCache()

    def solve(fixed: Image, moving: Image) -> tuple[DisplacementField, str]:
        finder = shared_finder(config.segment)
        regions = [segment(image, config, segmenter=finder, cache=cache) for image in (fixed, moving)]
        began = time.perf_counter()
        result = register_regions(regions[0], regions[1], config)
        seconds = time.perf_counter() - began
        facts = {
            **({} if result.start is None else dataclasses.asdict(result.start)),
            "s": round(seconds, 2),
            "confidence": round(result.confidence, 3),
        }
        field = result.field
        return field if field is not None else DisplacementField.identity(fixed.grid), json.dumps(facts, default=str)

    return solve


def _solver(name: str) -> Solve:
    if name.partition(":")[0].partition("+")[0] == "samreg":
        return _samreg(name)
    return {"ants": _ants, "elastix": _elastix}.get(name) or _peer(name)


def errors(case: Case, field: DisplacementField) -> np.ndarray:
    """(n,) distance from the truth, in voxels of the coarser image."""
    found = field.transform_points(case.points)
    return np.asarray(np.linalg.norm(found - case.truth, axis=1) / case.voxel)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--source", default="brain01", help=f"brain01 to brain10, {', '.join(IMAGES_3D)}; by commas")
    parser.add_argument("--cases", default="all", help="by commas")
    parser.add_argument("--methods", default="samreg", help="by commas")
    parser.add_argument("--verbose", action="store_true", help="what samreg notes about its start")
    parser.add_argument("--out", type=Path, help="append a line of JSON for each result")
    arguments = parser.parse_args()
    methods = arguments.methods.split(",")
    solvers = {name: _solver(name) for name in methods}
    print(f"{'case':<26}" + "".join(f"{name[-30:]:>32}" for name in methods))
    for source in arguments.source.split(","):
        names = CASES_2D if source.startswith("brain") else CASES_3D
        for name in names if arguments.cases == "all" else arguments.cases.split(","):
            if name not in names:
                continue
            case = make_case(arguments.root, source, name)
            cells, notes = [], []
            for method, solve in solvers.items():
                began = time.perf_counter()
                try:
                    field, note = solve(case.fixed, case.moving)
                except RuntimeError as error:
                    cells.append(f"{'fails':>32}")
                    notes.append(str(error)[-200:])
                    continue
                seconds = time.perf_counter() - began
                e = errors(case, field)
                median, high = np.median(e), np.percentile(e, 95)
                cells.append(f"{f'{median:.3f} / {high:.3f}  {seconds:5.1f} s':>32}")
                notes.append(note)
                if arguments.out:
                    row = {"case": case.name, "method": method, "median": median, "p95": high, "seconds": seconds}
                    with arguments.out.open("a") as stream:
                        stream.write(json.dumps(row) + "\n")
            print(f"{case.name:<26}" + "".join(cells), flush=True)
            if arguments.verbose:
                print("\n".join(f"    {note}" for note in notes if note), flush=True)


if __name__ == "__main__":
    main()
