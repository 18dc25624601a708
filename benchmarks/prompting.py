"""How often one point in a heart chamber at end-diastole finds that chamber at end-systole (ACDC).

    python -m benchmarks.prompting ROOT [PATIENT ...] [--json FILE]

ROOT is the folder of the data set. For each patient, the mid-ventricular slice (the middle of the slices that hold both
ventricles in both phases), and in it the LV cavity and the RV: the prompt is the point of the fixed label that is
farthest from its edge. Found means Dice >= 0.85 of the moving mask with the moving label on that slice.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from samreg.errors import SamregError
from samreg.io.images import read_image, read_labels
from samreg.io.tables import PairRecord
from samreg.lab.datasets.acdc import read_pairs
from samreg.prompt import prompt_pair
from samreg.segmenters import Segmenter, load_segmenter

CHAMBERS = {"RV": 1, "LV": 3}
FOUND = 0.85


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks."""
    return float(2 * (a & b).sum() / max(int(a.sum() + b.sum()), 1))


def slices_with(labels: np.ndarray, value: int) -> np.ndarray:
    """Whether each slice holds a label."""
    result: np.ndarray = (labels == value).any(axis=(1, 2))
    return result


def one(pair: PairRecord, segmenter: Segmenter, every: bool) -> list[dict[str, object]]:
    """A row a chamber (and slice) of one patient."""
    fixed, moving = read_image(pair.fixed), read_image(pair.moving)
    if pair.fixed_labels is None or pair.moving_labels is None:
        return []
    before, after = (read_labels(p)[0] for p in (pair.fixed_labels, pair.moving_labels))
    both = np.logical_and.reduce([slices_with(x, v) for x in (before, after) for v in CHAMBERS.values()])
    numbers = np.flatnonzero(both)
    rows: list[dict[str, object]] = []
    for name, value in CHAMBERS.items():
        middle = int(numbers[len(numbers) // 2])
        wanted = [z for z in numbers if every and (after[z] == value).sum() > 150] if every else [middle]
        for z in map(int, wanted):
            depth = distance_transform_edt(np.pad(before[z] == value, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            point = fixed.grid.index_to_world(np.asarray([[x, y, z]], dtype=float))[0]
            row: dict[str, object] = {"patient": pair.id, "chamber": name, "slice": z, "middle": z == middle}
            began = time.perf_counter()
            try:
                answer = prompt_pair(fixed, moving, point=point.tolist(), segmenter=segmenter, through=False)
            except SamregError as error:
                rows.append(row | {"dice": 0.0, "reason": str(error)})
                continue
            region = answer.region.mask(0)[z]
            target = answer.pairs.moving.mask(0)[z] if answer.found else np.zeros_like(region)
            rows.append(
                row
                | {
                    "fixed_dice": round(dice(region, before[z] == value), 3),
                    "dice": round(dice(target, after[z] == value), 3),
                    "candidate_dice": round(dice(answer.candidate.masks()[:, z].any(axis=0), after[z] == value), 3),
                    "area_px": int((after[z] == value).sum()),
                    "similarity": round(answer.similarity, 3),
                    "cycle": round(answer.cycle, 3),
                    "confidence": round(answer.confidence, 3),
                    "seconds": round(time.perf_counter() - began, 2),
                    "reason": answer.reason,
                }
            )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("patients", nargs="*")
    parser.add_argument("--segmenter", default="litemedsam")
    parser.add_argument("--every-slice", action="store_true", help="all slices whose moving chamber is over 150 px")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    segmenter = load_segmenter(args.segmenter)
    rows: list[dict[str, object]] = []
    for pair in read_pairs(args.root):
        if not args.patients or pair.id in args.patients:
            for row in one(pair, segmenter, args.every_slice):
                print(json.dumps(row), flush=True)
                rows.append(row)
    for name in CHAMBERS:
        values = np.asarray([row["dice"] for row in rows if row["chamber"] == name], dtype=float)
        hits = int((values >= FOUND).sum())
        rate, median = 100 * hits / len(values), np.median(values)
        print(f"{name}: found {hits} of {len(values)} ({rate:.0f} %), median Dice {median:.3f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
