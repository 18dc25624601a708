"""Abdominal CT and MR of different people as one dataset: BTCV with CHAOS, both directions, the four common organs.

    python -m benchmarks.ct_mr --root DATA --out FOLDER
    samreg benchmark pairs --root FOLDER --methods identity,ants-mi,samreg --out results

DATA is the folder that holds `abdomen_ct_btcv` and `abdomen_mr_chaos`. The first four cases of each are paired in their
order. FOLDER gets `pairs.csv` and label maps in which both datasets number liver, right kidney, left kidney and spleen
alike; images stay where they are.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import SimpleITK as sitk

CT = ("0003", "0005", "0007", "0013")
MR = ("01", "05", "13", "15")
FROM_BTCV = {6: 1, 2: 2, 3: 3, 1: 4}
"""Numbers of BTCV to those of CHAOS: liver, right kidney, left kidney, spleen."""
COLUMNS = ("id", "fixed", "moving", "fixed_labels", "moving_labels", "intra_subject")


def common(labels: Path, numbers: dict[int, int], out: Path) -> Path:
    """A label map with other numbers; those that are not named become background."""
    image = sitk.Cast(sitk.ReadImage(str(labels)), sitk.sitkUInt8)
    rest = {n: 0 for n in range(1, 256) if n not in numbers}
    sitk.WriteImage(sitk.ChangeLabel(image, rest | numbers), str(out))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    out = args.out.resolve()  # paths of the table are read from its folder
    out.mkdir(parents=True, exist_ok=True)
    ct_root, mr_root = (args.root.resolve() / name for name in ("abdomen_ct_btcv", "abdomen_mr_chaos"))
    rows = []
    for a, b in zip(CT, MR, strict=True):
        ct = ct_root / f"img{a}.nii.gz", common(ct_root / f"label{a}.nii.gz", FROM_BTCV, out / f"ct{a}.nii.gz")
        mr = mr_root / f"img{b}.nii.gz", mr_root / f"label{b}.nii.gz"
        for name, fixed, moving in ((f"ct{a}-mr{b}", ct, mr), (f"mr{b}-ct{a}", mr, ct)):
            rows.append((name, fixed[0], moving[0], fixed[1], moving[1], "no"))
    with (out / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
