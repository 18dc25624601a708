"""The same registrations before and after a change of the code: are the fields the same?

    python -m benchmarks.frozen run --data ROOT --out DIR [--threads 1] [--repeat 1]
    python -m benchmarks.frozen compare DIR DIR

`run` calls the command line of whichever samreg is installed, with an empty cache of its own, and keeps the run folders
in DIR. `compare` prints the largest difference of each field in world units (mm; px for photographs), and of the pairs.
Run it twice with the same code to see what the machine itself changes. A rewrite keeps the field to 1e-5.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def _heart(root: Path, patient: str) -> tuple[Path, Path]:
    folder = root / "acdc" / "training" / patient
    frames = sorted(p for p in folder.glob("*frame??.nii.gz"))
    return frames[0], frames[1]


def _label(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii.gz", "_gt.nii.gz"))


def cases(root: Path) -> dict[str, list[str]]:
    """Arguments of the command line, by the name of the case."""
    fixed, moving = _heart(root, "patient067")
    prostate = [root / "prostate_mr_promise12" / f"img{n}.nii.gz" for n in ("00", "01")]
    crops = sorted((root / "hippocampus_mr_msd" / "imagesTr").glob("*.nii.gz"))[:2]
    eyes = sorted(p for p in (root / "retina_fire").rglob("*") if p.suffix in (".jpg", ".png"))[:2]
    heart = [str(fixed), str(moving)]
    known = ["--fixed-labels", str(_label(fixed)), "--moving-labels", str(_label(moving)), "--labels-only"]
    image = sitk.ReadImage(str(_label(fixed)))
    cavity = np.argwhere(sitk.GetArrayFromImage(image) == 3).mean(axis=0)[::-1]
    # ITK's geometry is samreg's: LPS mm, spacing from pixdim.
    point = image.TransformContinuousIndexToPhysicalPoint([float(c) for c in np.round(cavity)])
    return {
        "heart": ["register", *heart],
        "prostate": ["register", *map(str, prostate)],
        "hippocampus": ["register", *map(str, crops)],
        "retina": ["register", *map(str, eyes)],
        "heart-regions": ["register", *heart, "--preset", "regions"],
        "heart-paper": ["register", *heart, "--preset", "paper", "--segmenter", "litemedsam"],
        "heart-labels-only": ["register", *heart, *known],
        "heart-prompt": ["prompt", *heart, "--point", ",".join(f"{c:.3f}" for c in point)],
    }


def run(root: Path, out: Path, threads: int, only: list[str]) -> None:
    """Run every case into a folder of its own."""
    out.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "SAMREG_CACHE_DIR": str(out / "cache"),
        "OMP_NUM_THREADS": str(threads),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
    }
    for name, arguments in cases(root).items():
        if (only and name not in only) or (out / name / "manifest.json").is_file():
            continue
        command = [sys.executable, "-m", "samreg", *arguments, "--out", str(out / name)]
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
        lines = (done.stdout + done.stderr).strip().splitlines()
        print(f"{name}: status {done.returncode}; {lines[-1] if lines else ''}", flush=True)


def _field(folder: Path) -> np.ndarray | None:
    path = folder / "displacement.nii.gz"
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float) if path.is_file() else None


def compare(before: Path, after: Path) -> bool:
    """Print how far two folders of runs are apart; whether all fields are the same to 1e-5."""
    same = True
    print("| case | largest difference of the field | mean | pairs before, after | largest difference of centroids |")
    print("| --- | --- | --- | --- | --- |")
    for folder in sorted(p for p in before.iterdir() if (p / "manifest.json").is_file()):
        other = after / folder.name
        if not (other / "manifest.json").is_file():
            print(f"| {folder.name} | missing in {after} | | | |")
            same = False
            continue
        fields = _field(folder), _field(other)
        rows = [json.loads((p / "pairs.json").read_text("utf-8")) for p in (folder, other)]
        key = next((k for k in (rows[0][0]["moving"] if rows[0] else {}) if k.startswith("centroid")), "")
        shift = "none"
        if len(rows[0]) == len(rows[1]) and rows[0]:
            places = [np.asarray([r["moving"][key] for r in part]) for part in rows]
            shift = f"{np.abs(places[0] - places[1]).max():.2g}"
        counts = f"{len(rows[0])}, {len(rows[1])}"
        if fields[0] is None or fields[1] is None:
            print(f"| {folder.name} | no field | | {counts} | {shift} |")
            same &= counts.split(", ")[0] == counts.split(", ")[1]
            continue
        gap = np.linalg.norm(fields[0] - fields[1], axis=-1)
        same &= bool(gap.max() <= 1e-5)
        print(f"| {folder.name} | {gap.max():.3g} | {gap.mean():.3g} | {counts} | {shift} |")
    return same


def main() -> int:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--data", type=Path, required=True)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--threads", type=int, default=1)
    running.add_argument("--only", nargs="*", default=[])
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        run(given.data, given.out, given.threads, given.only)
        return 0
    return 0 if compare(given.before, given.after) else 1


if __name__ == "__main__":
    raise SystemExit(main())
